"""The ASGI application and its routes."""

from collections.abc import Mapping, Sequence
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
from graphql_api.transport.origins import CORS, Origins


class Application(FastAPI):
    """FastAPI, past whose middleware and router requests for /graphql go straight to their endpoints.

    Those take a fifth of the time of a small query. So middleware that is added to the application doesn't
    see these requests; what they need, such as CORS, is part of their routes.
    """

    def __init__(self, *, routes: Sequence[BaseRoute], **options: Any) -> None:
        handlers: dict[int | type[Exception], Any] = {StarletteHTTPException: _refuse, Exception: _fail}
        super().__init__(routes=list(routes), exception_handlers=handlers, **options)
        self._endpoints: dict[str, ASGIApp] = {}
        """The endpoints of /graphql by the type of scope; "page" is http from a page of a browser."""
        for route in routes:
            match route:
                case Route(path="/graphql", app=app):
                    self._endpoints |= {"page": app, "http": app.app if isinstance(app, CORS) else app}
                case WebSocketRoute(path="/graphql", app=app):
                    self._endpoints["websocket"] = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http" and any(name == b"origin" for name, _ in scope["headers"]):
            kind = "page"
        if scope.get("path") == "/graphql" and kind in self._endpoints:
            await self._endpoints[kind](scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def routes(
    gateway: Gateway,
    *,
    ready: ops.Ready,
    get_requests: GetRequests = "off",
    origins: Origins | None = None,
    graphiql_html: bytes | None = None,
) -> list[BaseRoute]:
    """Returns the routes of everything that the service answers.

    `ready` raises if the process can't serve. Pages of `origins` may call besides our own.
    `graphiql_html` is the page that browsers get at /graphql, if any.
    """
    origins = origins or Origins()
    return [
        Route(
            "/graphql",
            GraphQLEndpoint(gateway, get_requests=get_requests, graphiql_html=graphiql_html),
            middleware=[Middleware(CORS, origins)],
        ),
        WebSocketRoute("/graphql", WebSocketEndpoint(gateway, origins=origins)),
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
