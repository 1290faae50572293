"""How an account stands against its limits today."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import ValidationError
from sqlalchemy import bindparam, literal, select

from graphql_api.domain.risk.event_recording import RiskState
from graphql_api.domain.risk.status import counts_today, risk_status_of
from graphql_api.domain.time_buckets import zone_parameters
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.statement import compile_statement, fetch_on
from graphql_api.postgres.tables.base import Timestamp
from graphql_api.relational.context import ViewerDatabase
from tests import factories
from tests.graph import Graph, opened, operator, settings_for, trader

STATUS = """
query ($id: ID!) { account(id: $id) { riskStatus {
  dailyPnl dailyLossUsed dailyLossRemaining openPositions openPositionsRemaining largestPosition breached
} } }
"""
NOW = datetime.now(UTC)
# A zone in which it is noon or so: today has hours on both sides, whenever these tests run.
OFFSET = 12 - NOW.hour
NOON = f"Etc/GMT{-OFFSET:+d}" if OFFSET else "Etc/GMT"
YESTERDAY = NOW - timedelta(hours=13)
NO_LIMITS = {
    "max_daily_loss": None,
    "max_position_size": None,
    "max_open_positions": None,
    "risk_per_trade": None,
}


@pytest.fixture
async def noon(address: Address, tmp_path: Path) -> AsyncIterator[Graph]:
    """The graph of a service in whose time zone it is about noon."""
    async with opened(settings_for(address, tmp_path, risk_timezone=NOON)) as graph:
        yield graph


async def limit(connection: "asyncpg.Connection", account: str, **limits: Any) -> None:
    await factories.risk_settings(connection, account, **NO_LIMITS | limits)


async def closed(connection: "asyncpg.Connection", session: str, pnl: Any, at: datetime = NOW) -> None:
    await factories.trade(
        connection,
        session,
        status="closed",
        entry_time=at - timedelta(days=2),
        exit_time=at,
        pnl=None if pnl is None else Decimal(pnl),
    )


async def status(noon: Graph, user: str, account: str) -> Any:
    answer = await noon.as_(trader(user)).ask(STATUS, {"id": account})
    return answer.data["account"]["riskStatus"]


async def test_an_account_without_trades_or_limits_is_at_rest(noon: Graph, user: str, account: str) -> None:
    assert await status(noon, user, account) == {
        "dailyPnl": "0.00000000",
        "dailyLossUsed": None,
        "dailyLossRemaining": None,
        "openPositions": 0,
        "openPositionsRemaining": None,
        "largestPosition": None,
        "breached": [],
    }


async def test_only_what_closed_today_is_todays(
    noon: Graph, connection: "asyncpg.Connection", user: str, account: str, session: str
) -> None:
    await limit(connection, account, max_daily_loss=Decimal(100))
    await closed(connection, session, "-1000", at=YESTERDAY)
    for pnl in ("-40", "10", "NaN", None):
        await closed(connection, session, pnl)
    found = await status(noon, user, account)

    assert found["dailyPnl"] == "-30.00000000"
    assert found["dailyLossUsed"] == "30.00000000"
    assert found["dailyLossRemaining"] == "70.00000000"
    assert found["breached"] == []


COUNTS_TODAY = compile_statement(
    select(
        counts_today(
            literal("CLOSED"), bindparam("moment", type_=Timestamp), bindparam("now", type_=Timestamp)
        ).label("counts")
    )
)


@pytest.mark.parametrize(
    ("zone", "first_midnight", "next_midnight"),
    [
        # Midnight comes twice, an hour apart; and once after a day of 23 hours.
        ("America/Havana", "2025-11-02T04:00:00Z", "2025-11-03T05:00:00Z"),
        ("Atlantic/Azores", "2026-10-25T00:00:00Z", "2026-10-26T01:00:00Z"),
        ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
    ],
)
async def test_a_days_losses_are_those_since_its_first_midnight(
    database: Database, zone: str, first_midnight: str, next_midnight: str
) -> None:
    begin, end = datetime.fromisoformat(first_midnight), datetime.fromisoformat(next_midnight)
    moment = timedelta(microseconds=1)
    for now in (begin, begin + timedelta(minutes=30), begin + timedelta(minutes=90), end - moment):
        for closed_at, counts in ((begin - moment, False), (begin, True), (now, True)):
            values = {"moment": closed_at, "now": now, **zone_parameters(zone)}
            (row,) = await database.fetch(COUNTS_TODAY, **values)
            assert row["counts"] is counts, (closed_at, now)
    (row,) = await database.fetch(COUNTS_TODAY, moment=end - moment, now=end, **zone_parameters(zone))
    assert row["counts"] is False


async def test_a_profit_uses_up_nothing(
    noon: Graph, connection: "asyncpg.Connection", user: str, account: str, session: str
) -> None:
    await limit(connection, account, max_daily_loss=Decimal(100))
    await closed(connection, session, "40")
    found = await status(noon, user, account)

    assert (found["dailyLossUsed"], found["dailyLossRemaining"]) == ("0.00000000", "100.00000000")


@pytest.mark.parametrize(("pnl", "breached"), [("-100", []), ("-100.00000001", ["MAX_DAILY_LOSS"])])
async def test_the_daily_loss_is_breached_beyond_the_limit(
    noon: Graph,
    connection: "asyncpg.Connection",
    user: str,
    account: str,
    session: str,
    pnl: str,
    breached: list[str],
) -> None:
    await limit(connection, account, max_daily_loss=Decimal(100))
    await closed(connection, session, pnl)
    found = await status(noon, user, account)

    assert (found["dailyLossRemaining"], found["breached"]) == ("0.00000000", breached)


@pytest.mark.parametrize(
    ("most", "remaining", "breached"), [(3, 1, []), (2, 0, []), (1, 0, ["MAX_OPEN_POSITIONS"])]
)
async def test_open_positions_count_over_all_sessions(
    noon: Graph,
    connection: "asyncpg.Connection",
    user: str,
    account: str,
    session: str,
    most: int,
    remaining: int,
    breached: list[str],
) -> None:
    await limit(connection, account, max_open_positions=most)
    await factories.trade(connection, session, entry_time=YESTERDAY)
    await factories.trade(connection, await factories.session(connection, account), status="filled")
    found = await status(noon, user, account)

    assert (found["openPositions"], found["openPositionsRemaining"]) == (2, remaining)
    assert found["breached"] == breached


async def test_a_partly_filled_trade_is_an_open_position(
    noon: Graph, connection: "asyncpg.Connection", user: str, account: str, session: str
) -> None:
    await limit(connection, account, max_position_size=Decimal(2))
    for status_ in ("PartiallyFilled", "PARTIALLY_FILLED", "partial", "Accepted", "PENDING_NEW", "Expired"):
        await factories.trade(connection, session, status=status_, size=Decimal(3))
    found = await status(noon, user, account)

    assert (found["openPositions"], found["largestPosition"]) == (3, "3.00000000")
    assert found["breached"] == ["MAX_POSITION_SIZE"]


@pytest.mark.parametrize(("largest", "breached"), [("2", []), ("1.99999999", ["MAX_POSITION_SIZE"])])
async def test_the_largest_open_position_is_measured(
    noon: Graph,
    connection: "asyncpg.Connection",
    user: str,
    account: str,
    session: str,
    largest: str,
    breached: list[str],
) -> None:
    await limit(connection, account, max_position_size=Decimal(largest))
    for size in ("10", "2", "NaN"):
        await factories.trade(
            connection, session, size=Decimal(size), status="closed" if size == "10" else "open"
        )
    found = await status(noon, user, account)

    assert (found["largestPosition"], found["breached"]) == ("2.00000000", breached)


@pytest.mark.parametrize(("pnl", "breached"), [("-20", []), ("-20.00000001", ["RISK_PER_TRADE"])])
async def test_the_risk_of_a_trade_is_what_it_lost_of_its_sessions_initial_balance(
    noon: Graph,
    connection: "asyncpg.Connection",
    user: str,
    account: str,
    session: str,
    pnl: str,
    breached: list[str],
) -> None:
    await limit(connection, account, risk_per_trade=Decimal("0.02"))
    unknown = await factories.session(connection, account)
    await closed(connection, session, pnl)
    await closed(connection, session, "-500", at=YESTERDAY)
    await closed(connection, unknown, "-500")

    assert (await status(noon, user, account))["breached"] == breached


async def test_the_settings_written_last_are_those_that_count(
    noon: Graph, connection: "asyncpg.Connection", user: str, account: str, session: str
) -> None:
    await limit(connection, account, max_open_positions=0, updated_at=NOW - timedelta(hours=1))
    await limit(connection, account, max_open_positions=5, updated_at=NOW)
    await factories.trade(connection, session)

    assert (await status(noon, user, account))["openPositionsRemaining"] == 4


async def test_a_limit_stored_as_nan_is_none(
    noon: Graph, connection: "asyncpg.Connection", user: str, account: str
) -> None:
    await limit(connection, account, max_daily_loss=Decimal("NaN"))

    assert (await status(noon, user, account))["dailyLossRemaining"] is None


async def test_fifty_accounts_cost_as_many_statements_as_one(
    noon: Graph, connection: "asyncpg.Connection"
) -> None:
    for _ in range(50):
        account = await factories.account(connection, None)
        await limit(connection, account, max_open_positions=3)
        await factories.trade(connection, await factories.session(connection, account))
    query = (
        "query ($first: Int) { accounts(first: $first) { nodes { riskStatus { openPositionsRemaining } } } }"
    )
    one = await noon.as_(operator()).ask(query, {"first": 1})
    fifty = await noon.as_(operator()).ask(query, {"first": 50})

    remaining = [node["riskStatus"]["openPositionsRemaining"] for node in fifty.data["accounts"]["nodes"]]
    assert remaining == [2] * 50
    assert one.statements == fifty.statements == 2


async def test_a_limit_is_compared_with_what_was_there_beside_it(
    noon: Graph,
    connection: "asyncpg.Connection",
    user: str,
    account: str,
    session: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The limit and a trade that uses it up come in one transaction, between any two reads."""
    await limit(connection, account, max_open_positions=0)
    one_at_a_time = asyncio.Lock()

    async def open_another() -> None:
        async with connection.transaction():
            await connection.execute("UPDATE risk_settings SET max_open_positions = max_open_positions + 1")
            await factories.trade(connection, session)

    def followed_by_a_change(read: Any) -> Any:
        async def changed(*arguments: Any, **values: Any) -> Any:
            async with one_at_a_time:
                found = await read(*arguments, **values)
                await open_another()
            return found

        return changed

    for name in ("fetch", "fetch_by_key"):
        monkeypatch.setattr(ViewerDatabase, name, followed_by_a_change(getattr(ViewerDatabase, name)))
    for _ in range(3):
        found = await status(noon, user, account)
        assert (found["openPositionsRemaining"], found["breached"]) == (0, [])
    assert await connection.fetchval("SELECT count(*) FROM trades") >= 6


async def random_account(connection: "asyncpg.Connection", user: str, chance: random.Random) -> str:
    """An account with limits, and sessions of trades with all that the columns may hold."""
    account = await factories.account(connection, user)
    limits = {
        "max_daily_loss": chance.choice((None, Decimal(0), Decimal(20))),
        "max_position_size": chance.choice((None, Decimal("0.5"))),
        "max_open_positions": chance.choice((0, 2)),
        "risk_per_trade": Decimal("0.02"),
    }
    await limit(connection, account, **limits)
    for balance in chance.sample(("1000", "0.5", "0", "-3", "NaN", None), 3):
        session = await factories.session(
            connection, account, initial_balance=None if balance is None else Decimal(balance)
        )
        for _ in range(chance.randrange(10)):
            pnl = chance.choice(("-0.01", "-20.00000001", "7", "0", "NaN", None))
            await factories.trade(
                connection,
                session,
                status=chance.choice(("open", "OPEN", "closed", "Closed", "cancelled")),
                size=Decimal(chance.choice(("0", "0.50000001", "3", "NaN"))),
                pnl=None if pnl is None else Decimal(pnl),
                entry_time=YESTERDAY,
                exit_time=chance.choice((NOW, NOW, YESTERDAY, None)),
            )
    return account


async def test_the_recorder_adds_up_in_memory_what_the_status_adds_up_in_sql(
    noon: Graph, address: Address, connection: "asyncpg.Connection", user: str
) -> None:
    chance = random.Random(7)
    accounts = [await random_account(connection, user, chance) for _ in range(20)]
    reader, state = await address.connect(), RiskState("")
    await state.load(partial(fetch_on(reader), present=None, **zone_parameters(NOON)))
    await reader.close()

    breached = set()
    for account in accounts:
        in_memory = risk_status_of(state.limits_of(account) or {}, state.accounts[account].by_session())
        in_sql = await status(noon, user, account)
        for (name, found), expected in zip(in_sql.items(), in_memory.values(), strict=True):
            if isinstance(found, list):
                breached |= set(found)
                assert found == [each.value for each in expected], name
            else:
                assert (None if found is None else Decimal(found)) == expected, name
    assert len(breached) == 4


@pytest.mark.parametrize("zone", ["Mars/Olympus_Mons", "localtime"])
def test_a_zone_that_tzdata_does_not_know_is_refused_at_the_start(
    address: Address, tmp_path: Path, zone: str
) -> None:
    with pytest.raises(ValidationError, match="IANA name"):
        settings_for(address, tmp_path, risk_timezone=zone)
