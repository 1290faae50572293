"""The ASGI application and its routes."""

import logging
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
from graphql_api.transport.lame_duck import LameDuck
from graphql_api.transport.origins import CORS, Origins
from graphql_api.transport.worker_metrics import WorkerMetrics

log = logging.getLogger(__name__)


class Application(FastAPI):
    """FastAPI, but requests for /graphql bypass its middleware and router and go directly to their endpoints.

    These would take a fifth of the time of a small query. So middleware that is added to the application
    doesn't get requests for /graphql; what those need, such as CORS, is part of their routes.
    """

    def __init__(self, *, routes: Sequence[BaseRoute], **options: Any) -> None:
        handlers: dict[int | type[Exception], Any] = {StarletteHTTPException: _refuse, Exception: _fail}
        super().__init__(routes=list(routes), exception_handlers=handlers, **options)
        self._warned = False
        self._endpoints: dict[str, ASGIApp] = {}
        """The endpoints of /graphql by the scope's type; "page" is for http requests of a browser's page."""
        for route in routes:
            match route:
                case Route(path="/graphql", app=app):
                    self._endpoints |= {"page": app, "http": app.app if isinstance(app, CORS) else app}
                case WebSocketRoute(path="/graphql", app=app):
                    self._endpoints["websocket"] = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        for name, value in scope.get("headers", ()):
            if name == b"origin" and kind == "http":
                kind = "page"
            elif name == b"x-forwarded-for" and not self._warned:
                self._warn_of_proxy(scope, value.decode("latin1"))
        if scope.get("path") == "/graphql" and kind in self._endpoints:
            await self._endpoints[kind](scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def _warn_of_proxy(self, scope: Scope, forwarded_for: str) -> None:
        """Logs once that a proxy isn't trusted, so that all its clients share the limits of one address."""
        address = (scope.get("client") or ("",))[0]
        if (
            address and address not in forwarded_for
        ):  # if the proxy is trusted, uvicorn takes it from the header
            self._warned = True
            log.warning(
                "X-Forwarded-For from %s is ignored: if that is your proxy, add it to"
                " GRAPHQL_API_TRUSTED_PROXIES, or all its clients count as one",
                address,
            )


def routes(
    gateway: Gateway,
    *,
    ready: ops.Ready,
    lame_duck: LameDuck | None = None,
    workers: WorkerMetrics | None = None,
    get_requests: GetRequests = "off",
    origins: Origins | None = None,
    graphiql_html: bytes | None = None,
) -> list[BaseRoute]:
    """Returns all routes of the service.

    `ready` raises if the process can't serve; `lame_duck` says whether it is about to stop. `workers` are the
    processes whose metrics are exported; by default, only this one. Pages of `origins` may call the service,
    besides its own. `graphiql_html` is the page that browsers get at /graphql, if any.
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
        Route("/readyz", ops.readiness(ready, lame_duck or LameDuck(0))),
        Route("/metrics", ops.metrics(workers or WorkerMetrics(gateway.metrics.registry))),
        *([graphiql.files()] if graphiql_html is not None else []),
    ]


async def _refuse(_: Request, exception: StarletteHTTPException) -> Response:
    """Answers a request that no route takes, with an error in GraphQL's format."""
    status = HTTPStatus(exception.status_code)
    error = HTTPError(status, status.name, f"{status.phrase.lower()}: GraphQL is at /graphql")
    return _response(error, exception.headers)


async def _fail(_: Request, exception: Exception) -> Response:
    """Answers a request at which a route failed; the reason is only in the log."""
    return _response(internal_error(exception))


def _response(error: HTTPError, headers: Mapping[str, str] | None = None) -> Response:
    return Response(error.result.render(), error.status, headers, "application/json")
