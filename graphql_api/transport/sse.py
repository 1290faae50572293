"""Server-sent events: graphql-sse's distinct connections mode, one stream for one operation.

A stream that ends without a `complete` event was cut off, and clients come back to it.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NoReturn

import orjson
from graphql import OperationType
from starlette.types import Receive, Send

from graphql_api.execution.operations import Operation
from graphql_api.execution.results import Result, Results
from graphql_api.gateway.errors import HTTPError
from graphql_api.gateway.gateway import Gateway
from graphql_api.identity.viewer import Viewer

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back to fill its buffer
]

logger = logging.getLogger(__name__)


class StreamEnded(Exception):  # noqa: N818 - an end, and not always an error
    """The stream is over: all was sent, the client left, or its token ended."""


class EventStream:
    """A response that stays open. Its tasks live and die together, as a socket's do."""

    def __init__(self, gateway: Gateway, viewer: Viewer, client: str, receive: Receive, send: Send) -> None:
        self._gateway = gateway
        self._viewer = viewer
        self._client = client
        self._receive = receive
        self._send = send

    async def serve(self, operation: Operation | Result) -> None:
        """Stream the results of an operation, or why it was refused.

        Raises HTTPError before anything is sent, and nothing after.
        """
        with self._gateway.connection("sse"):
            await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._until_hangup())
                    tasks.create_task(self._beat())
                    streaming = tasks.create_task(self._stream(operation))
                    if self._viewer.is_authenticated:
                        tasks.create_task(self._recheck(operation, streaming))
            except* StreamEnded:
                pass
            except* Exception:
                logger.exception("an event stream failed")
            await self._send({"type": "http.response.body", "body": b""})

    async def _stream(self, operation: Operation | Result) -> None:
        async with aclosing(self._results(operation)) as results:
            async for together in results:
                if together.progress is not None:
                    # A comment: clients refuse events that the protocol doesn't know.
                    await self._write(b": %b\n\n" % orjson.dumps({"cursor": together.progress.cursor}))
                for result in together:
                    await self._write_next(result)
                # A send to a client that is gone returns at once: without a pause here, a source that is
                # always ready would run on, and nobody would get to hear of the hang-up.
                await asyncio.sleep(0)
        await self._complete()

    async def _results(self, operation: Operation | Result) -> AsyncGenerator[Results, None]:
        if isinstance(operation, Result):
            yield Results([operation])
            return
        try:
            if operation.kind is not OperationType.SUBSCRIPTION:
                yield Results([await self._gateway.run_operation(operation, self._viewer, self._client)])
                return
            events = await self._gateway.open_subscription(operation, lambda: self._viewer, self._client)
        except HTTPError as error:
            yield Results([error.result])
            return
        metrics = self._gateway.metrics
        with metrics.subscriptions.track_inprogress():
            async with aclosing(events):
                async for together in events:
                    yield together
                    metrics.events.inc(len(together))

    async def _until_hangup(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise StreamEnded

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._gateway.limits.heartbeat)
            await self._write(b":\n\n")

    async def _recheck(self, operation: Operation | Result, streaming: asyncio.Task[None]) -> None:
        while True:
            try:
                self._viewer = await self._gateway.recheck(self._viewer)
            except HTTPError as error:
                # Without a complete: the client is to come back, and this tells it to renew its token first.
                streaming.cancel()
                await self._write_next(error.result)
                raise StreamEnded from None
            if not isinstance(operation, Operation) or operation.kind is not OperationType.SUBSCRIPTION:
                continue
            refusal = self._gateway.check_permission(operation, self._viewer, self._client)
            if refusal is not None:
                streaming.cancel()
                await self._write_next(refusal)
                await self._complete()

    async def _write_next(self, result: Result) -> None:
        await self._write(b"event: next\ndata: %b\n\n" % result.render())
        self._gateway.metrics.count_errors(result.errors)

    async def _complete(self) -> NoReturn:
        await self._write(b"event: complete\ndata: \n\n")
        raise StreamEnded

    async def _write(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
