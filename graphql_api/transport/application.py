"""FastAPI, with a short way to /graphql."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send


class Application(FastAPI):
    """Takes requests for one path straight to their endpoints.

    What FastAPI and Starlette do on the way (middleware, routing, a stack of contexts) is for other kinds of
    endpoints, and takes a tenth of the time of a small query. Middleware added to the application therefore
    doesn't see these requests; what they need, such as CORS, is part of their routes.
    """

    def __init__(self, *, routes: Sequence[BaseRoute], straight_to: str = "/graphql", **options: Any) -> None:
        super().__init__(routes=list(routes), **options)
        self._endpoints: dict[tuple[str, str], ASGIApp] = {
            ("http" if isinstance(route, Route) else "websocket", route.path): route.app
            for route in routes
            if isinstance(route, Route | WebSocketRoute) and route.path == straight_to
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        endpoint = self._endpoints.get((scope["type"], scope.get("path", "")))
        if endpoint is None:
            await super().__call__(scope, receive, send)
        else:
            await endpoint(scope, receive, send)
