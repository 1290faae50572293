"""The ASGI application: its routes, and FastAPI with a short way to /graphql."""

from collections.abc import Collection, Sequence
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from graphql_api.dev.graphiql import files as page_files
from graphql_api.gateway.gateway import Gateway
from graphql_api.transport import ops
from graphql_api.transport.graphql_http import GetRequests, GraphQLEndpoint
from graphql_api.transport.graphql_transport_ws import WebSocketEndpoint


class Application(FastAPI):
    """FastAPI that takes requests for /graphql straight to their endpoints.

    FastAPI's and Starlette's middleware, routing and context managers take a tenth of the time of a small
    query. Middleware added to the application therefore doesn't see these requests; what they need, such as
    CORS, is part of their routes.
    """

    def __init__(self, *, routes: Sequence[BaseRoute], straight_to: str = "/graphql", **options: Any) -> None:
        super().__init__(routes=list(routes), **options)
        self._endpoints: dict[tuple[str, str], ASGIApp] = {
            ("http" if isinstance(route, Route) else "websocket", route.path): route.app
            for route in routes
            if isinstance(route, Route | WebSocketRoute) and route.path == straight_to
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket."""
        endpoint = self._endpoints.get((scope["type"], scope.get("path", "")))
        if endpoint is None:
            await super().__call__(scope, receive, send)
        else:
            await endpoint(scope, receive, send)


def routes(
    gateway: Gateway,
    *,
    ready: ops.Ready,
    get_requests: GetRequests = "off",
    allowed_origins: Collection[str] = (),
    graphiql: bytes | None = None,
) -> list[BaseRoute]:
    """Every address the service answers.

    `ready` raises where the process can't serve. Browsers may call from `allowed_origins` besides our own.
    `graphiql` is the page for browsers at /graphql, if there is to be one.
    """
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(allowed_origins),
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["Retry-After"],
        max_age=7200,
    )
    return [
        Route(
            "/graphql",
            GraphQLEndpoint(gateway, get_requests=get_requests, page=graphiql),
            middleware=[cors] if allowed_origins else None,
        ),
        WebSocketRoute("/graphql", WebSocketEndpoint(gateway, allowed_origins=allowed_origins)),
        Route("/healthz", ops.health),
        Route("/readyz", ops.readiness(ready)),
        Route("/metrics", ops.metrics(gateway.metrics.registry)),
        *([page_files()] if graphiql is not None else []),
    ]
