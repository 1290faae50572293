"""CORS and origins: which web pages may call the service, by the `Origin` that their browsers send.

This protects users of browsers. Other programs may send any Origin, or none.
"""

import ipaddress
import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from graphql_api.execution.errors import cut
from graphql_api.gateway.errors import HTTPError
from graphql_api.settings import normalized_origin
from graphql_api.transport.graphql_http import RESPONSE

log = logging.getLogger(__name__)

SETTING: Final = "GRAPHQL_API_ALLOWED_ORIGINS"
_MAX_LOGGED = 100
"""Refused origins that a process logs, each once."""


class Origins:
    """The origins whose pages may call the service, besides its own.

    `listed` are normalized; "*" stands for any. With `local`, pages that this machine serves at localhost may
    call, too.
    """

    def __init__(self, listed: Iterable[str] = (), *, local: bool = False) -> None:
        self._listed = frozenset(listed)
        self._local = local
        self._logged: set[str] = set()

    @property
    def any(self) -> bool:
        """Whether pages of every origin may call."""
        return "*" in self._listed

    def __contains__(self, origin: str) -> bool:
        if self.any:
            return True
        try:
            normalized = normalized_origin(origin)
        except ValueError:
            return False
        return normalized in self._listed or (self._local and is_local(normalized))

    def refusal(self, origin: str) -> HTTPError:
        """Returns the error for a page that may not call, and logs it."""
        origin = cut(origin)
        if len(self._logged) < _MAX_LOGGED and origin not in self._logged:
            self._logged.add(origin)
            log.warning("a page of %r was refused: %s doesn't list its origin", origin, SETTING)
        message = f"Origin: pages of {origin} may not call, as {SETTING} doesn't list it"
        return HTTPError(HTTPStatus.FORBIDDEN, "FORBIDDEN", message)


def is_local(origin: str) -> bool:
    """Returns whether a normalized origin is this machine's: localhost, or a loopback address."""
    host = urlsplit(origin).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_own(origin: str, host: str) -> bool:
    """Returns whether a page calls the host that it comes from.

    The scheme isn't compared: behind a proxy that terminates TLS, the service doesn't know it.
    """
    scheme = origin.partition(":")[0]
    try:
        return normalized_origin(f"{scheme}://{host}") == normalized_origin(origin)
    except ValueError:
        return False


class CORS(CORSMiddleware):
    """CORS: lets browsers call and read responses from pages of the allowed origins."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        super().__init__(
            app,
            allow_origins=["*"] if origins.any else [],
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
            max_age=7200,
        )
        self._origins = origins

    async def simple_response(
        self, scope: Scope, receive: Receive, send: Send, request_headers: Headers
    ) -> None:
        """Has the application send its response in ASGI's messages, to whose headers CORS adds its own."""
        scope.get("extensions", {}).pop(RESPONSE, None)
        await super().simple_response(scope, receive, send, request_headers)

    def is_allowed_origin(self, origin: str) -> bool:
        return origin in self._origins

    def preflight_response(self, request_headers: Headers) -> Response:
        if (origin := request_headers["origin"]) in self._origins:
            return super().preflight_response(request_headers)
        refusal = self._origins.refusal(origin)
        return Response(refusal.result.render(), refusal.status, media_type="application/json")
