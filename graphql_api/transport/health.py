"""Whether this process lives, and whether it can serve."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

_PATIENCE = 3.0

logger = logging.getLogger(__name__)

Ready = Callable[[], Awaitable[object]]
"""Raises if the process can't serve, and returns otherwise."""


async def live(_: Request) -> Response:
    """GET /healthz: 200 for as long as the event loop turns."""
    return JSONResponse({"status": "ok"})


def readiness(ready: Ready) -> Callable[[Request], Awaitable[Response]]:
    """GET /readyz: 200 if `ready` returns in time, else 503."""

    async def endpoint(_: Request) -> Response:
        try:
            async with asyncio.timeout(_PATIENCE):
                await ready()
        except Exception as error:  # noqa: BLE001 - whatever it is, it makes us unready
            logger.warning("not ready: %r", error)
            return JSONResponse({"status": "unavailable"}, 503, {"retry-after": "1"})
        return JSONResponse({"status": "ok"})

    return endpoint
