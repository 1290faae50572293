from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from graphql_api.dev.demo.desk import EMAILS
from graphql_api.dev.demo.market import INSTRUMENTS
from graphql_api.dev.demo.scale import SampleMissingError, scale
from graphql_api.postgres.address import Address
from graphql_api.postgres.vocabularies import TRADE_DIRECTIONS, trade_status
from tests.conftest import temporary_database
from tests.dev.demo.conftest import NOW, TRADES, keep

pytestmark = pytest.mark.slow

SIZE = 20_000

ACCOUNTS = """
    SELECT u.email, a.account_number, count(t.id) AS trades
    FROM users u JOIN tradelocker_accounts a ON a.user_id = u.id
    JOIN trading_sessions s ON s.account_id = a.id LEFT JOIN trades t ON t.session_id = s.id
    GROUP BY 1, 2 ORDER BY 1, 2
"""
INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'trades'
    UNION ALL
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'trades'::regclass
    ORDER BY 1, 2
"""


async def accounts_of(connection: "asyncpg.Connection") -> Mapping[tuple[str, str], int]:
    return {(row["email"], row["account_number"]): row["trades"] for row in await connection.fetch(ACCOUNTS)}


@dataclass(frozen=True)
class Grown:
    """A desk that has grown to SIZE trades, and how it was before."""

    name: str
    address: Address
    accounts: Mapping[tuple[str, str], int]
    indexes: list["asyncpg.Record"]
    added: int
    told: list[tuple[str, int, int]] = field(default_factory=list)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def grown(server: Address, desk_template: str) -> Grown:
    name = f"grown_{uuid4().hex}"
    address = await keep(server, desk_template, name)
    connection = await address.connect_plain()
    accounts, indexes = await accounts_of(connection), await connection.fetch(INDEXES)
    await connection.close()
    told: list[tuple[str, int, int]] = []
    added = await scale(address, trades=SIZE, now=NOW, progress=lambda *step: told.append(step))
    return Grown(name, address, accounts, indexes, added, told)


@pytest.fixture
async def visitor(grown: Grown) -> AsyncIterator["asyncpg.Connection"]:
    """Someone who only reads the grown desk."""
    connection = await grown.address.connect_plain()
    yield connection
    await connection.close()


async def test_the_database_then_holds_as_many_trades_as_asked(
    grown: Grown, visitor: "asyncpg.Connection"
) -> None:
    assert grown.added == SIZE - TRADES
    assert await visitor.fetchval("SELECT count(*) FROM trades") == SIZE


async def test_the_desk_s_own_accounts_keep_their_size(grown: Grown, visitor: "asyncpg.Connection") -> None:
    after = await accounts_of(visitor)
    assert grown.accounts.items() <= after.items()
    assert len(after) == len(grown.accounts) + 2


async def test_totals_of_the_new_sessions_agree_with_their_trades(visitor: "asyncpg.Connection") -> None:
    sessions = await visitor.fetch("""
        SELECT
            s.*, t.*,
            lag(s.final_balance) OVER (PARTITION BY s.account_id ORDER BY s.started_at) AS carried
        FROM trading_sessions s
        JOIN tradelocker_accounts a ON a.id = s.account_id
        JOIN users u ON u.id = a.user_id AND u.email LIKE 'desk-%'
        CROSS JOIN LATERAL (
            SELECT
                count(*) AS own, coalesce(sum(pnl), 0) AS earned,
                min(entry_time) AS first_entry, max(exit_time) AS last_exit,
                count(*) FILTER (WHERE lower(status) IN ('open', 'active')) AS open
            FROM trades WHERE session_id = s.id
        ) t
    """)
    assert len(sessions) > 50
    for session in sessions:
        assert (session["trades_count"], session["pnl"]) == (session["own"], session["earned"])
        assert session["first_entry"] is None or session["first_entry"] >= session["started_at"]
        assert session["last_exit"] is None or session["last_exit"] < (session["ended_at"] or NOW)
        assert session["carried"] in (None, session["initial_balance"])
        if session["ended_at"] is None:
            assert session["final_balance"] is None
        else:
            assert session["final_balance"] == session["initial_balance"] + session["pnl"]
            assert session["open"] == 0


async def test_profit_follows_from_prices_size_and_direction(visitor: "asyncpg.Connection") -> None:
    trades = await visitor.fetch("""
        SELECT t.* FROM trades t JOIN trading_sessions s ON s.id = t.session_id
        JOIN tradelocker_accounts a ON a.id = s.account_id
        JOIN users u ON u.id = a.user_id AND u.email LIKE 'desk-%'
    """)
    assert len(trades) == SIZE - TRADES
    for trade in trades:
        instrument = INSTRUMENTS[trade["symbol"]]
        assert instrument.is_open(int(trade["entry_time"].timestamp()))
        assert int(trade["entry_price"].scaleb(8)) % instrument.tick == 0
        if trade_status(trade["status"], has_exit=trade["exit_time"] is not None) == "CLOSED":
            change = trade["exit_price"] - trade["entry_price"]
            sign = 1 if TRADE_DIRECTIONS.canonical(trade["direction"]) == "BUY" else -1
            assert trade["pnl"] == sign * change * trade["size"] * instrument.contract
            assert trade["entry_time"] < trade["exit_time"] <= NOW
            assert instrument.is_open(int(trade["exit_time"].timestamp()))
        else:
            assert (trade["exit_price"], trade["exit_time"], trade["pnl"]) == (None, None, None)


async def test_indexes_and_keys_are_as_before(grown: Grown, visitor: "asyncpg.Connection") -> None:
    assert await visitor.fetch(INDEXES) == grown.indexes


async def test_progress_is_told_to_the_end(grown: Grown) -> None:
    assert list(dict.fromkeys(what for what, _, _ in grown.told)) == ["trades", "indexes", "settling"]
    assert grown.told[0] == ("trades", 0, grown.added)
    assert ("trades", grown.added, grown.added) in grown.told
    assert grown.told[-1] == ("settling", 1, 1)


async def test_the_same_desk_grows_by_the_same_trades(
    desk: Address, witness: "asyncpg.Connection", visitor: "asyncpg.Connection"
) -> None:
    await scale(desk, trades=SIZE, now=NOW)
    trades = "SELECT * FROM trades WHERE pnl IS DISTINCT FROM 'NaN' ORDER BY id"
    assert await witness.fetch(trades) == await visitor.fetch(trades)


async def test_a_grown_desk_grows_further_by_other_trades(server: Address, grown: Grown) -> None:
    async with temporary_database(server, grown.name) as address:
        assert await scale(address, trades=SIZE + 2_000, now=NOW) == 2_000
        connection = await address.connect_plain()
        moments = await connection.fetchval("SELECT count(DISTINCT (symbol, entry_time)) FROM trades")
        await connection.close()
    assert moments == SIZE + 2_000


async def test_a_database_that_is_large_enough_stays_as_it_is(
    desk: Address, witness: "asyncpg.Connection"
) -> None:
    assert await scale(desk, trades=TRADES, now=NOW) == 0
    assert await witness.fetchval("SELECT count(*) FROM users") == len(EMAILS)


async def test_a_failure_leaves_rows_and_indexes_as_they_were(
    desk: Address, witness: "asyncpg.Connection"
) -> None:
    before = await witness.fetch(INDEXES)

    def fail(what: str, done: int, of: int) -> None:
        if what == "indexes":
            raise RuntimeError("the watcher is gone")

    with pytest.raises(RuntimeError):
        await scale(desk, trades=SIZE, now=NOW, progress=fail)
    assert await witness.fetch(INDEXES) == before
    assert await witness.fetchval("SELECT count(*) FROM trades") == TRADES


async def test_without_a_desk_there_is_nothing_to_grow(address: Address) -> None:
    with pytest.raises(SampleMissingError, match="load the demo data first"):
        await scale(address, trades=SIZE)


async def test_trades_come_by_one_copy(desk: Address, witness: "asyncpg.Connection") -> None:
    await witness.execute("""
        CREATE TABLE seen (query text);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql
            AS 'BEGIN INSERT INTO seen VALUES (current_query()); RETURN NULL; END';
        CREATE TRIGGER see AFTER INSERT OR UPDATE ON trades FOR EACH STATEMENT EXECUTE FUNCTION see();
    """)
    await scale(desk, trades=SIZE, now=NOW)
    (query,) = await witness.fetchval("SELECT array_agg(query) FROM seen")
    assert query.startswith("COPY ")
