"""Endpoints for operators: /healthz, /readyz and /metrics."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from graphql_api.quotas import create_own_task
from graphql_api.transport.lame_duck import LameDuck
from graphql_api.transport.worker_metrics import WorkerMetrics

_READY_TIMEOUT = 3.0  # seconds

log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]
Ready = Callable[[], Awaitable[object]]
"""Raises if the process can't serve."""


async def health(_: Request) -> Response:
    """Answers GET /healthz with 200, as long as the event loop runs."""
    return JSONResponse({"status": "ok"})


def readiness(ready: Ready, lame_duck: LameDuck) -> Endpoint:
    """Returns the endpoint of GET /readyz: 200 if `ready` returns within 3 seconds, else 503.

    Also 503 once the process is about to stop. Requests at the same time share one check, since each check
    takes a connection to the database.
    """
    checking: asyncio.Task[None] | None = None

    async def check() -> None:
        async with asyncio.timeout(_READY_TIMEOUT):
            await ready()

    async def endpoint(_: Request) -> Response:
        nonlocal checking
        if lame_duck.leaving:
            return JSONResponse({"status": "leaving"}, 503, {"connection": "close"})
        if checking is None or checking.done():
            checking = create_own_task(check(), "readiness")
        try:
            await asyncio.shield(checking)
        except Exception as error:  # noqa: BLE001 - whatever it is, the process isn't ready
            log.warning("not ready: %r", error)
            return JSONResponse({"status": "unavailable"}, 503, {"retry-after": "1"})
        return JSONResponse({"status": "ok"})

    return endpoint


def metrics(workers: WorkerMetrics) -> Endpoint:
    """Returns the endpoint of GET /metrics, in Prometheus' text format."""

    async def endpoint(_: Request) -> Response:
        return Response(await workers.text(), media_type=CONTENT_TYPE_LATEST)

    return endpoint
