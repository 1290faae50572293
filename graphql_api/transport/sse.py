"""Server-sent events: graphql-sse's distinct connections mode, one stream for one operation.

https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md

A stream that ends without a `complete` event was interrupted, and clients open it again.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import perf_counter
from typing import NoReturn

import orjson
from graphql import OperationType
from starlette.types import Receive, Send

from graphql_api.execution.operations import Operation, Result
from graphql_api.execution.subscriptions import Results
from graphql_api.gateway.errors import HTTPError, masked_result
from graphql_api.gateway.gateway import LARGE_RESPONSE, Gateway
from graphql_api.identity.viewer import Viewer

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # otherwise nginx delays events until its buffer is full
]
_COMMENT = b":\n\n"

log = logging.getLogger(__name__)


class StreamEnded(Exception):  # noqa: N818 - an end, and not always an error
    """Ends a stream: everything was sent, the client has disconnected, or its token isn't valid any more."""


class EventStream:
    """The response to one operation, sent event by event.

    One task sends results, one sends heartbeats, one waits for the client to disconnect, and one rechecks the
    viewer. They end together: whatever ends the stream is raised as StreamEnded, and cancels them all.
    """

    def __init__(self, gateway: Gateway, viewer: Viewer, client: str, receive: Receive, send: Send) -> None:
        self._gateway = gateway
        self._viewer = viewer
        self._client = client
        self._receive = receive
        self._send = send

    async def serve(self, operation: Operation | Result) -> None:
        """Streams the results of an operation, or the errors for which it was refused.

        Raises HTTPError only before anything was sent.
        """
        with self._gateway.connection("sse", self._client, self._viewer):
            await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._end_on_disconnect())
                    tasks.create_task(self._send_heartbeats())
                    streaming = tasks.create_task(self._send_results(operation))
                    if self._viewer.is_authenticated:
                        tasks.create_task(self._recheck_viewer(operation, streaming))
            except* StreamEnded:
                pass
            except* Exception:
                log.exception("an event stream failed")
            await self._send({"type": "http.response.body", "body": b""})

    async def _send_results(self, operation: Operation | Result) -> None:
        try:
            async with aclosing(self._run(operation)) as stream:
                async for results in stream:
                    if results.progress is not None:
                        # As a comment, since clients refuse events that the protocol doesn't have.
                        await self._write(b": %b\n\n" % orjson.dumps(results.progress.message))
                    for result in results:
                        await self._send_next(result)
                    # A send to a client that is gone returns at once. Without this pause, a source that
                    # always has results would never let `_end_on_disconnect` run.
                    await asyncio.sleep(0)
        except HTTPError as error:
            await self._send_next(error.result)
        except StreamEnded:
            raise
        except Exception as error:  # noqa: BLE001 - masked and logged
            await self._send_next(masked_result(error))
        await self._complete()

    async def _run(self, operation: Operation | Result) -> AsyncGenerator[Results, None]:
        metrics = self._gateway.metrics
        if isinstance(operation, Result):
            yield Results([operation])
            return
        if operation.type is not OperationType.SUBSCRIPTION:
            started = perf_counter()
            result = await self._gateway.run_operation(operation, self._viewer, self._client)
            metrics.observe("sse", operation.type.value, perf_counter() - started, result)
            size = len(result.render())
            with self._gateway.count_unread(size, self._viewer, self._client):
                yield Results([result])
                if size >= LARGE_RESPONSE:
                    await self._write(_COMMENT)  # once the client has read what was sent before
            return
        async with self._gateway.subscription(operation, lambda: self._viewer, self._client) as subscription:
            async for results in subscription:
                yield results
                metrics.events.inc(len(results))

    async def _end_on_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise StreamEnded

    async def _send_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._gateway.limits.heartbeat)
            await self._write(_COMMENT)

    async def _recheck_viewer(self, operation: Operation | Result, streaming: asyncio.Task[None]) -> None:
        while True:
            try:
                self._viewer = await self._gateway.wait_and_recheck(self._viewer)
            except HTTPError as error:
                # Without `complete`, so that the client reconnects; the error tells it to renew its token
                # first.
                streaming.cancel()
                await self._send_next(error.result)
                raise StreamEnded from None
            if not isinstance(operation, Operation) or operation.type is not OperationType.SUBSCRIPTION:
                continue
            denial = self._gateway.check_permission(operation, self._viewer, self._client)
            if denial is not None:
                streaming.cancel()
                await self._send_next(denial)
                await self._complete()

    async def _send_next(self, result: Result) -> None:
        body = result.render()
        if len(body) >= LARGE_RESPONSE:
            await asyncio.sleep(0)  # rendering took milliseconds, and copying will, so others run in between
        await self._write(b"event: next\ndata: %b\n\n" % body)
        self._gateway.metrics.count_errors(result.errors)

    async def _complete(self) -> NoReturn:
        await self._write(b"event: complete\ndata: \n\n")
        raise StreamEnded

    async def _write(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
