"""The ASGI application and its routes."""

from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from graphql_api.gateway.errors import HTTPError, internal_error
from graphql_api.gateway.gateway import Gateway
from graphql_api.transport import graphiql, ops
from graphql_api.transport.graphql_http import GetRequests, GraphQLEndpoint
from graphql_api.transport.graphql_transport_ws import WebSocketEndpoint
from graphql_api.transport.origins import CORS


class Application(FastAPI):
    """FastAPI, past whose middleware and router requests for /graphql go straight to their endpoints.

    Those take a fifth of the time of a small query. So middleware that is added to the application doesn't
    see these requests; what they need, such as CORS, is part of their routes.
    """

    def __init__(self, *, routes: Sequence[BaseRoute], **options: Any) -> None:
        handlers: dict[int | type[Exception], Any] = {StarletteHTTPException: _refuse, Exception: _fail}
        super().__init__(routes=list(routes), exception_handlers=handlers, **options)
        self._endpoints: dict[tuple[str, str], ASGIApp] = {
            ("http" if isinstance(route, Route) else "websocket", route.path): route.app
            for route in routes
            if isinstance(route, Route | WebSocketRoute) and route.path == "/graphql"
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
    graphiql_html: bytes | None = None,
) -> list[BaseRoute]:
    """Returns the routes of everything that the service answers.

    `ready` raises if the process can't serve. Pages of `allowed_origins` may call besides our own.
    `graphiql_html` is the page that browsers get at /graphql, if any.
    """
    cors = Middleware(
        CORS,
        allow_origins=list(allowed_origins),
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["Retry-After"],
        max_age=7200,
    )
    return [
        Route(
            "/graphql",
            GraphQLEndpoint(gateway, get_requests=get_requests, graphiql_html=graphiql_html),
            middleware=[cors] if allowed_origins else None,
        ),
        WebSocketRoute("/graphql", WebSocketEndpoint(gateway, allowed_origins=allowed_origins)),
        Route("/healthz", ops.health),
        Route("/readyz", ops.readiness(ready)),
        Route("/metrics", ops.metrics(gateway.metrics.registry)),
        *([graphiql.files()] if graphiql_html is not None else []),
    ]


async def _refuse(_: Request, exception: StarletteHTTPException) -> Response:
    """Answers what no route takes, with an error in GraphQL's format."""
    status = HTTPStatus(exception.status_code)
    error = HTTPError(status, status.name, f"{status.phrase.lower()}: GraphQL is at /graphql")
    return _response(error, exception.headers)


async def _fail(_: Request, exception: Exception) -> Response:
    """Answers what a route failed at; what it was is in the log only."""
    return _response(internal_error(exception))


def _response(error: HTTPError, headers: Mapping[str, str] | None = None) -> Response:
    return Response(error.result.render(), error.status, headers, "application/json")
