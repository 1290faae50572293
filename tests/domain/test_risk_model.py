"""Every crossing of limits over generated days: each once, none false, by a model in SQL of its own.

The recorder polls after some commits, is killed in between, and rests for days. Time is the test's own, so
that the days are those on which clocks change too. What made the crossings is counted, so that the test fails
if a kind of them is not among what is generated.
"""

import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from graphql_api.domain.risk.event_recording import RiskEventRecording
from graphql_api.postgres.address import Address
from tests import factories
from tests.domain.clock_model import bucket_start

# What each account exceeds, from what is stored alone. A trade may be dated in the future.
MODEL = """
    WITH in_force AS (
        SELECT DISTINCT ON (account_id) * FROM risk_settings
        ORDER BY account_id, coalesce(updated_at, '-infinity') DESC, id DESC
    ),
    counted AS (
        SELECT s.account_id, s.initial_balance, nullif(t.pnl, 'NaN') AS pnl, t.size,
               t.status = 'open' AS is_open
        FROM trades t JOIN trading_sessions s ON s.id = t.session_id
        WHERE t.status = 'open' OR (t.status = 'closed' AND coalesce(t.exit_time, t.entry_time) >= $1)
    )
    SELECT r.account_id::text AS account, l.name
    FROM in_force r CROSS JOIN LATERAL (VALUES
        ('MAX_DAILY_LOSS', (SELECT -sum(pnl) FROM counted c WHERE c.account_id = r.account_id AND NOT is_open)
                               > nullif(max_daily_loss, 'NaN')),
        ('MAX_POSITION_SIZE', EXISTS (SELECT FROM counted c WHERE c.account_id = r.account_id AND is_open
                                                              AND size > nullif(max_position_size, 'NaN'))),
        ('MAX_OPEN_POSITIONS', (SELECT count(*) FROM counted c WHERE c.account_id = r.account_id AND is_open)
                                   > max_open_positions),
        ('RISK_PER_TRADE', EXISTS (SELECT FROM counted c WHERE c.account_id = r.account_id AND NOT is_open
                                       AND initial_balance > 0
                                       AND -pnl > nullif(risk_per_trade, 'NaN') * initial_balance))
    ) AS l (name, exceeded) WHERE exceeded
"""
STEPS = 200
EVENINGS = 3
"""Those at the beginning: clocks change in one of these nights."""
CLOCKS = "a midnight after 23 or 25 hours"
CAUSES = {"a midnight", "_lose", "_hand_over", "_lift"}
"""What crossings come from in each run, besides what is random."""
OF_A_DAY = {"MAX_DAILY_LOSS", "RISK_PER_TRADE"}
Crossed = set[tuple[str, str]]
Change = Callable[[], Coroutine[Any, Any, None]]


class Desk:
    """What other programs do: random changes of three accounts of two users."""

    def __init__(self, rng: random.Random, connection: "asyncpg.Connection", start: datetime) -> None:
        self.rng = rng
        self.now = start
        self._connection = connection
        self._accounts: list[str] = []
        self._sessions: list[str] = []
        self.done: Counter[str] = Counter()
        """How often each kind of change was made since it was last cleared."""

    async def open(self) -> None:
        users = [await factories.user(self._connection) for _ in range(2)]
        self._accounts = [await factories.account(self._connection, users[place % 2]) for place in range(3)]
        for account in self._accounts * 2:
            session = await factories.session(self._connection, account, initial_balance=Decimal(1000))
            self._sessions.append(session)
        for account in self._accounts:
            await factories.risk_settings(
                self._connection,
                account,
                max_daily_loss=Decimal(100),
                max_open_positions=2,
                max_position_size=Decimal(4),
                risk_per_trade=Decimal("0.05"),
                updated_at=self.now,
            )

    async def act(self) -> None:
        """One change, or several in a transaction."""
        common = (self._trade, self._close) * 3
        rare = (self._move, self._delete, self._limit, self._session, self._reopen, self._correct)
        async with self._connection.transaction():
            for _ in range(self.rng.choice((1, 1, 1, 4))):
                await self.make(self.rng.choice((*common, *rare)))

    def evening(self, zone: str) -> list[tuple[datetime, Change | None]]:
        """The moments around the next midnight at which to poll, each after a change or after none.

        A loss is made, goes to another account, and is no longer too large there; another lasts until the day
        ends. What is 24 hours after the last midnight is none where clocks change.
        """
        today = bucket_start(self.now, "DAY", zone)
        midnight = bucket_start(today + timedelta(hours=36), "DAY", zone)
        changes = (self._lose, self._hand_over, self._lift, self._lose)
        before = [(midnight - timedelta(minutes=90 - place), each) for place, each in enumerate(changes)]
        moments = {today + timedelta(days=1), *(midnight + timedelta(seconds=each) for each in (-1, 0, 60))}
        every = [*before, *((moment, None) for moment in sorted(moments))]
        return [(max(moment, self.now), change) for moment, change in every]

    async def make(self, change: Change) -> None:
        """One change, which is counted."""
        await change()
        self.done[change.__name__] += 1

    async def _lose(self) -> None:
        self._loser, self._next = self.rng.sample(self._accounts, 2)
        session = await self._session_under_a_limit(self._loser)
        values = {"status": "closed", "entry_time": self.now, "exit_time": self.now, "pnl": Decimal(-3000)}
        self._loss = await factories.trade(self._connection, session, **values)

    async def _hand_over(self) -> None:
        session = await self._session_under_a_limit(self._next)
        await self._connection.execute("UPDATE trades SET session_id = $1 WHERE id = $2", session, self._loss)

    async def _lift(self) -> None:
        limits = dict.fromkeys(("max_daily_loss", "max_open_positions", "risk_per_trade"))
        await factories.risk_settings(self._connection, self._next, updated_at=self.now, **limits)

    async def _session_under_a_limit(self, account: str) -> str:
        limits = {"max_daily_loss": Decimal(2500), "updated_at": self.now}
        await factories.risk_settings(self._connection, account, **limits)
        return await factories.session(self._connection, account, initial_balance=Decimal(1000))

    async def _trade(self) -> None:
        status = self.rng.choice(("open", "open", "pending", "closed"))
        closes = self.now + timedelta(minutes=self.rng.choice((0, 0, 0, -700, 1500)))
        await factories.trade(
            self._connection,
            self.rng.choice(self._sessions),
            status=status,
            size=Decimal(self.rng.randrange(1, 6)),
            entry_time=self.now,
            exit_time=closes if status == "closed" and self.rng.randrange(5) else None,
            pnl=Decimal(self.rng.choice(("-60", "-25.5", "40", "NaN"))) if status == "closed" else None,
        )

    async def _close(self) -> None:
        await self._change(
            "UPDATE trades SET status = 'closed', exit_time = $2, pnl = $3 WHERE id = (SELECT id FROM trades"
            " WHERE status <> 'closed' ORDER BY md5(id::text || $1) LIMIT 1)",
            self.now,
            Decimal(self.rng.randrange(-80, 60)),
        )

    async def _reopen(self) -> None:
        await self._change(
            "UPDATE trades SET status = 'open', exit_time = NULL, pnl = NULL"
            " WHERE id = (SELECT id FROM trades WHERE status = 'closed' ORDER BY md5(id::text || $1) LIMIT 1)"
        )

    async def _correct(self) -> None:
        await self._change(
            "UPDATE trades SET exit_time = $2, pnl = $3 WHERE id = (SELECT id FROM trades"
            " WHERE status = 'closed' ORDER BY md5(id::text || $1) LIMIT 1)",
            self.now + timedelta(minutes=self.rng.choice((0, -300, -1500, 300))),
            Decimal(self.rng.randrange(-80, 60)),
        )

    async def _move(self) -> None:
        await self._change(
            "UPDATE trades SET session_id = $2"
            " WHERE id = (SELECT id FROM trades ORDER BY md5(id::text || $1) LIMIT 1)",
            self.rng.choice(self._sessions),
        )

    async def _delete(self) -> None:
        await self._change(
            "DELETE FROM trades WHERE id IN (SELECT id FROM trades ORDER BY md5(id::text || $1) LIMIT 2)"
        )

    async def _session(self) -> None:
        column, value = self.rng.choice(
            (
                ("account_id", self.rng.choice(self._accounts)),
                ("initial_balance", Decimal(self.rng.randrange(-100, 3000))),
            )
        )
        await self._change(
            f"UPDATE trading_sessions SET {column} = $2"
            " WHERE id = (SELECT id FROM trading_sessions ORDER BY md5(id::text || $1) LIMIT 1)",
            value,
        )

    async def _limit(self) -> None:
        account = self.rng.choice(self._accounts)
        limits = {
            "max_daily_loss": self.rng.choice((None, *map(Decimal, ("20", "50", "100", "NaN")))),
            "max_position_size": self.rng.choice((None, *map(Decimal, (1, 2, 4)))),
            "max_open_positions": self.rng.choice((None, 0, 2, 4)),
            "risk_per_trade": self.rng.choice((None, *map(Decimal, ("0.02", "0.04", "0.05")))),
        }
        match self.rng.randrange(5):
            case 0:
                await self._connection.execute("DELETE FROM risk_settings WHERE account_id = $1", account)
            case 1 | 2:
                await factories.risk_settings(self._connection, account, updated_at=self.now, **limits)
            case _:
                columns = ", ".join(f"{name} = ${number}" for number, name in enumerate(limits, 2))
                await self._connection.execute(
                    f"UPDATE risk_settings SET {columns} WHERE account_id = $1", account, *limits.values()
                )

    async def _change(self, sql: str, *values: Any) -> None:
        await self._connection.execute(sql, str(self.rng.random()), *values)


def expected(before: Crossed, after: Crossed, *, is_new_day: bool) -> Iterator[tuple[str, str, str]]:
    """The events between two polls."""
    for account, limit in before | after:
        ended = is_new_day and limit in OF_A_DAY
        if (account, limit) in before and (ended or (account, limit) not in after):
            yield account, limit, "LIMIT_KEPT"
        if (account, limit) in after and (ended or (account, limit) not in before):
            yield account, limit, "LIMIT_CROSSED"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("Europe/Berlin", datetime(2026, 10, 24, 6, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 3, 28, 6, tzinfo=UTC)),
        ("America/Havana", datetime(2025, 3, 8, 12, tzinfo=UTC)),  # a day that begins at one o'clock
        ("America/Havana", datetime(2025, 11, 1, 12, tzinfo=UTC)),  # one whose first hour comes twice
        ("Asia/Beirut", datetime(2025, 10, 24, 12, tzinfo=UTC)),  # one whose last hour does
        ("UTC", datetime(2026, 2, 27, 12, tzinfo=UTC)),
    ],
    ids=lambda each: str(each)[:16],
)
async def test_every_crossing_is_recorded_once_and_none_is_false(
    address: Address, connection: "asyncpg.Connection", zone: str, start: datetime
) -> None:
    seed = random.randrange(10**9)
    print("seed", seed)  # noqa: T201 - to repeat the run with
    desk = Desk(random.Random(seed), connection, start)
    await desk.open()
    exceeded: Crossed = set()
    midnight, seen = bucket_start(start, "DAY", zone), 0
    causes: Counter[str] = Counter()
    job, reader = RiskEventRecording(zone), await address.connect()
    await job.begin(reader)

    coming = desk.evening(zone)
    for step in range(STEPS):
        desk.done.clear()
        if not coming and (step < EVENINGS * 8 or desk.rng.randrange(20) == 0):
            coming = desk.evening(zone)
        if coming:
            desk.now, change = coming.pop(0)
            if change is not None:
                async with connection.transaction():
                    await desk.make(change)
        else:
            desk.now += timedelta(minutes=desk.rng.choice((1, 10, 45, 45, 300)))
            if desk.rng.randrange(20) == 0:  # no process runs
                desk.now += timedelta(minutes=desk.rng.choice((700, 1500, 3000)))
            for _ in range(desk.rng.choice((0, 1, 1, 2))):
                await desk.act()
        job.present = desk.now.isoformat()
        if desk.rng.randrange(8) == 0:  # killed between a poll and its commit
            transaction = reader.transaction(isolation="repeatable_read")
            await transaction.start()
            await job.poll(reader)
            await reader.close()
            job, reader = RiskEventRecording(zone), await address.connect()
            job.present = desk.now.isoformat()
            await job.begin(reader)
        await job.poll(reader)

        today = bucket_start(desk.now, "DAY", zone)
        exceeds = {(row["account"], row["name"]) for row in await connection.fetch(MODEL, today)}
        events = await connection.fetch(
            "SELECT account_id::text, risk_limit, kind, number FROM graphql_api.risk_events"
            " WHERE number > $1 AND kind <> 'LIMITS_CHANGED' ORDER BY number",
            seen,
        )
        found = Counter((row["account_id"], row["risk_limit"], row["kind"]) for row in events)
        assert found == Counter(expected(exceeded, exceeds, is_new_day=today != midnight)), desk.now
        causes.update(causes_of(desk.done, today - midnight) if events else ())
        seen = max((row["number"] for row in events), default=seen)
        exceeded, midnight = exceeds, today
    await reader.close()
    print(causes)  # noqa: T201 - what was generated
    assert set(causes) >= CAUSES | (set() if zone == "UTC" else {CLOCKS})


def causes_of(done: Counter[str], new_day: timedelta) -> Iterator[str]:
    """What made the crossings between two polls: a midnight, or one change alone."""
    if new_day:
        yield "a midnight"
        if new_day.total_seconds() % 86400:
            yield CLOCKS
    elif done.total() == 1:
        yield from done
