"""The subscription: one LISTEN for the process, and a queue for each subscriber."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import strawberry


@strawberry.type
class SystemLog:
    """A line of the log."""

    id: UUID
    timestamp: datetime | None
    level: str
    component: str
    message: str


class Broadcast:
    """Hands each new line to all that are subscribed."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[SystemLog]] = set()

    async def listen(self, dsn: str) -> "asyncpg.Connection":
        """Begin to listen. The caller closes the connection."""
        connection = await asyncpg.connect(dsn)
        await connection.add_listener("log_added", self._heard)
        return connection

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        row = json.loads(str(payload))
        row["timestamp"] = datetime.fromisoformat(row["timestamp"])
        log = SystemLog(**row)
        for queue in self._queues:
            queue.put_nowait(log)

    async def lines(self) -> AsyncGenerator[SystemLog, None]:
        """New lines, for one subscriber."""
        queue: asyncio.Queue[SystemLog] = asyncio.Queue()
        self._queues.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)


broadcast = Broadcast()


@strawberry.type
class Subscription:
    """What can be followed."""

    @strawberry.subscription
    async def system_log_added(self) -> AsyncGenerator[SystemLog, None]:
        """New lines of the log."""
        async for line in broadcast.lines():
            yield line
