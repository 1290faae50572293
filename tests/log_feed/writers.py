"""Programs that write logs in every way PostgreSQL has, and remember what they committed."""

import asyncio
import random
from dataclasses import dataclass, field

import asyncpg

from graphql_api.postgres.address import Address

COLUMNS = ("level", "component", "message")


@dataclass
class Committed:
    """The messages that were committed, each as `writer-transaction-row`."""

    messages: list[str] = field(default_factory=list)


class Writer:
    """One program with one connection. Its transactions are numbered, so that their order shows."""

    def __init__(self, name: str, address: Address, seed: int, committed: Committed) -> None:
        self._name = name
        self._address = address
        self._random = random.Random(seed)
        self._committed = committed
        self._transaction = 0

    async def run(self, transactions: int, *, two_phase: bool = False, wait: bool = True) -> None:
        """Makes transactions, which wait for the disk if `wait`. Raises if the connection is lost."""
        connection = await self._address.connect_plain(application="writer")
        try:
            await connection.execute(f"SET synchronous_commit = {'on' if wait else 'off'}")
            ways = [self.single, self.multi, self.savepoints, self.rollback, self.copy]
            if two_phase:
                ways.append(self.two_phase)
                await connection.execute("SET log_feed.notify = off")
            for _ in range(transactions):
                self._transaction += 1
                self._committed.messages += await self._random.choice(ways)(connection)
        finally:
            connection.terminate()

    def messages(self, most: int) -> list[str]:
        return [f"{self._name}-{self._transaction}-{row}" for row in range(self._random.randint(1, most))]

    async def pause(self) -> None:
        """Pauses at random, so that others may commit."""
        if self._random.random() < 0.5:
            await asyncio.sleep(self._random.random() * 0.01)

    async def insert(self, connection: "asyncpg.Connection", messages: list[str]) -> None:
        await connection.execute(
            "INSERT INTO system_logs (level, component, message) SELECT 'info', 'test', unnest($1::text[])",
            messages,
        )

    async def single(self, connection: "asyncpg.Connection") -> list[str]:
        messages = self.messages(1)
        await self.insert(connection, messages)
        return messages

    async def multi(self, connection: "asyncpg.Connection") -> list[str]:
        messages = self.messages(7)
        async with connection.transaction():
            for message in messages:
                await self.insert(connection, [message])
                await self.pause()
        return messages

    async def savepoints(self, connection: "asyncpg.Connection") -> list[str]:
        messages = self.messages(4)
        async with connection.transaction():
            for message in messages:
                async with connection.transaction():
                    await self.insert(connection, [message])
                undone = connection.transaction()
                await undone.start()
                await self.insert(connection, [f"{message}-undone"])
                await undone.rollback()
                await self.pause()
        return messages

    async def rollback(self, connection: "asyncpg.Connection") -> list[str]:
        transaction = connection.transaction()
        await transaction.start()
        await self.insert(connection, self.messages(3))
        await self.pause()
        await transaction.rollback()
        return []

    async def copy(self, connection: "asyncpg.Connection") -> list[str]:
        messages = self.messages(12)
        async with connection.transaction():
            await connection.copy_records_to_table(
                "system_logs", records=[("info", "test", m) for m in messages], columns=COLUMNS
            )
            await self.pause()
        return messages

    async def two_phase(self, connection: "asyncpg.Connection") -> list[str]:
        messages = self.messages(3)
        name = f"{self._name}-{self._transaction}-{self._random.getrandbits(60)}"
        await connection.execute("BEGIN")
        await self.insert(connection, messages)
        await connection.execute(f"PREPARE TRANSACTION '{name}'")
        await self.pause()
        if self._random.random() < 0.3:
            await connection.execute(f"ROLLBACK PREPARED '{name}'")
            return []
        await connection.execute(f"COMMIT PREPARED '{name}'")
        return messages
