"""Risk events while programs' transactions, mutations and polls overlap, compared with a model in SQL.

Each poll runs in a transaction whose snapshot the model has read before, so that both see the same rows even
if others commit meanwhile. Mutations write odd limits and programs even ones, each once, so that an
event shows who has written what it says.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any, Literal

import asyncpg
import orjson
import pytest

from graphql_api.domain.risk.event_recording import RiskEventRecording
from graphql_api.log_feed.errors import FeedUnavailableError
from graphql_api.postgres.address import Address
from tests import factories
from tests.domain.clock_model import bucket_start
from tests.domain.test_risk_event_recording import NOON
from tests.domain.test_risk_model import MODEL, Crossed, expected
from tests.graph import Graph, trader

POLLS = 60
MUTATION = """mutation ($id: ID!, $loss: Decimal, $most: Int) {
  updateRiskSettings(accountId: $id, input: {maxDailyLoss: $loss, maxOpenPositions: $most}) {
    riskSettings { maxDailyLoss } userErrors { code }
  }
}"""
STATUS = "query ($id: ID!) { account(id: $id) { riskStatus { breached } } }"
_ISOLATIONS: tuple[Literal["read_committed", "repeatable_read", "serializable"], ...] = (
    "read_committed",
    "repeatable_read",
    "serializable",
)
_RACES = (
    *(asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError),
    asyncpg.ForeignKeyViolationError,
)


class Program:
    """One program with one connection, in transactions of every kind."""

    def __init__(self, rng: random.Random, owners: dict[str, str], limits: Iterator[int]) -> None:
        """`owners` are users by account; `limits` are the even limits that programs write."""
        self._rng = rng
        self._accounts = list(owners)
        self._limits = limits

    async def run(self, connection: "asyncpg.Connection") -> None:
        """Makes transactions until it is cancelled."""
        changes: tuple[Callable[[asyncpg.Connection], Awaitable[Any]], ...] = (
            *(self._open, self._close) * 3,
            *(self._limit,) * 4,
            *(self._move_trade, self._move_session, self._delete_trades, self._touch_account),
        )
        await connection.execute("SET log_feed.notify = off")
        while True:
            await asyncio.sleep(self._rng.random() * 0.02)
            is_prepared = self._rng.random() < 0.2
            name = f"races-{self._rng.getrandbits(60)}"
            isolation = "read_committed" if is_prepared else self._rng.choice(_ISOLATIONS)
            await connection.execute(f"BEGIN ISOLATION LEVEL {isolation.replace('_', ' ')}")
            try:
                for _ in range(self._rng.choice((1, 1, 2, 4))):
                    await connection.execute("SAVEPOINT here")
                    await self._rng.choice(changes)(connection)
                    if self._rng.random() < 0.2:
                        await connection.execute("ROLLBACK TO here")
                    await asyncio.sleep(self._rng.random() * 0.02)
                if is_prepared:
                    await connection.execute(f"PREPARE TRANSACTION '{name}'")
                    await asyncio.sleep(self._rng.random() * 0.03)
                    await connection.execute(f"COMMIT PREPARED '{name}'")
                else:
                    await connection.execute("COMMIT")
            except _RACES:
                await connection.execute("ROLLBACK")

    async def _session(self, connection: "asyncpg.Connection") -> str:
        order = str(self._rng.random())
        return str(
            await connection.fetchval(
                "SELECT id FROM trading_sessions ORDER BY md5(id::text || $1) LIMIT 1", order
            )
        )

    async def _open(self, connection: "asyncpg.Connection") -> None:
        await factories.trade(connection, await self._session(connection), size=Decimal(1))

    async def _close(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "UPDATE trades SET status = 'closed', exit_time = now(), pnl = $1 WHERE id ="
            " (SELECT id FROM trades WHERE status = 'open' LIMIT 1 OFFSET $2)",
            *(Decimal(self._rng.randint(-30, 25)), self._rng.randrange(4)),
        )

    async def _limit(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "UPDATE risk_settings SET max_daily_loss = $1, max_open_positions = $2, updated_at = now()"
            " WHERE account_id = $3",
            *(Decimal(next(self._limits)), self._rng.randrange(6), self._rng.choice(self._accounts)),
        )

    async def _move_trade(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "UPDATE trades SET session_id = $1 WHERE id = (SELECT id FROM trades LIMIT 1 OFFSET $2)",
            *(await self._session(connection), self._rng.randrange(8)),
        )

    async def _move_session(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "UPDATE trading_sessions SET account_id = $1 WHERE id = $2",
            *(self._rng.choice(self._accounts), await self._session(connection)),
        )

    async def _delete_trades(self, connection: "asyncpg.Connection") -> None:
        await connection.execute("DELETE FROM trades WHERE session_id = $1", await self._session(connection))

    async def _touch_account(self, connection: "asyncpg.Connection") -> None:
        await connection.execute(
            "UPDATE tradelocker_accounts SET last_sync = now() WHERE id = $1",
            self._rng.choice(self._accounts),
        )


async def mutate(rng: random.Random, graph: Graph, owners: dict[str, str], written: list[str]) -> None:
    """Changes limits by mutations until it is cancelled."""
    for limit in count(1, 2):
        await asyncio.sleep(rng.random() * 0.03)
        account = rng.choice(list(owners))
        variables = {"id": account, "loss": str(limit), "most": rng.randrange(6)}
        data = (await graph.as_(trader(owners[account])).ask(MUTATION, variables)).data
        assert data["updateRiskSettings"]["userErrors"] == []
        written.append(data["updateRiskSettings"]["riskSettings"]["maxDailyLoss"])


@pytest.mark.slow
async def test_events_are_those_of_the_snapshots_whatever_overlaps(
    address: Address, graph: Graph, connection: "asyncpg.Connection"
) -> None:
    seed = random.randrange(10**9)
    print("seed", seed)  # noqa: T201 - to repeat the run with
    rng = random.Random(seed)
    owners = {}
    for user in [await factories.user(connection) for _ in range(2)] * 2:
        account = await factories.account(connection, user)
        owners[account] = user
        await factories.risk_settings(connection, account, max_daily_loss=Decimal(0), max_open_positions=2)
        await factories.session(connection, account, initial_balance=Decimal(1000))
    reader = await address.connect()
    job = RiskEventRecording(NOON)
    await job.begin(reader)
    await job.poll(reader)

    connections = [await address.connect_plain(application="program") for _ in range(3)]
    limits, written = count(2, 2), list[str]()
    tasks = [asyncio.create_task(Program(rng, owners, limits).run(each)) for each in connections]
    tasks.append(asyncio.create_task(mutate(rng, graph, owners, written)))
    exceeded: Crossed = set()
    seen = set[str]()
    polls: Counter[str] = Counter()
    while polls["compared"] < POLLS:
        for task in tasks:
            if task.done():
                await task
        await asyncio.sleep(rng.random() * 0.06)
        transaction = reader.transaction(isolation="repeatable_read")
        await transaction.start()
        exceeds = await read_model(reader)
        await asyncio.sleep(rng.choice((0, 0, 0.01, 0.05)))
        try:
            await job.poll(reader)
        except FeedUnavailableError:  # a session was moved by a transaction that reads an older snapshot
            await transaction.rollback()
            await job.begin(reader)
            polls["reset"] += 1
            continue
        if rng.random() < 0.15:
            await transaction.rollback()
            await reader.close()
            reader, job = await address.connect(), RiskEventRecording(NOON)
            await job.begin(reader)
            polls["killed"] += 1
            continue
        await compare(reader, seen, exceeded, exceeds)
        exceeded = exceeds
        await transaction.commit()
        polls["compared"] += 1
        if rng.random() < 0.15:
            job = RiskEventRecording(NOON)
            await job.begin(reader)
            polls["taken over"] += 1
    print(polls, len(written))  # noqa: T201 - what was compared
    assert set(polls) == {"compared", "reset", "killed", "taken over"}

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for each in connections:
        await each.close()
    await end_prepared(connection)
    await job.begin(reader)
    while (await job.poll(reader)).found:
        pass
    for account, user in owners.items():
        status = (await graph.as_(trader(user)).ask(STATUS, {"id": account})).data["account"]["riskStatus"]
        standing = "SELECT exceeded FROM graphql_api.risk_standings WHERE account_id = $1"
        assert set(status["breached"]) == set(orjson.loads(await connection.fetchval(standing, account)))
    await reader.close()


async def end_prepared(connection: "asyncpg.Connection") -> None:
    """Ends transactions that a program had prepared when it was cancelled."""
    names = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
    for row in await connection.fetch(names):
        await connection.execute(f"COMMIT PREPARED '{row['gid']}'")


async def read_model(reader: "asyncpg.Connection") -> Crossed:
    today = bucket_start(datetime.now(UTC), "DAY", NOON)
    return {(row["account"], row["name"]) for row in await reader.fetch(MODEL, today.isoformat())}


async def compare(reader: "asyncpg.Connection", seen: set[str], exceeded: Crossed, exceeds: Crossed) -> None:
    """Compares the events that a poll has recorded with the model, and the limits with their last changes."""
    events = await reader.fetch(
        "SELECT id::text, account_id::text, risk_limit, kind, author,"
        " limits_after ->> 'max_daily_loss' AS after FROM graphql_api.risk_events"
    )
    new = [row for row in events if row["id"] not in seen]
    seen |= {row["id"] for row in new}
    crossed = [row for row in new if row["risk_limit"] is not None]
    found = Counter((row["account_id"], row["risk_limit"], row["kind"]) for row in crossed)
    assert found == Counter(expected(exceeded, exceeds, is_new_day=False))
    changes = [row for row in events if row["kind"] == "LIMITS_CHANGED"]
    for change in changes:
        assert (change["author"] == "USER") == (Decimal(change["after"]) % 2 == 1), change
    values = Counter((row["account_id"], row["after"]) for row in changes)
    assert set(values.values()) <= {1}
    for row in await reader.fetch("SELECT account_id::text, max_daily_loss::text FROM risk_settings"):
        assert values[tuple(row)] == 1 or Decimal(row["max_daily_loss"]) == 0, row
