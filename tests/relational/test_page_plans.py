"""How PostgreSQL finds the rows of a page: by an index of their own, never by scanning others' rows."""

import json
from collections import Counter
from collections.abc import Mapping
from itertools import product
from typing import Any

import asyncpg
import pytest

from graphql_api.domain.policy import ACCOUNTS, SESSIONS, STRATEGIES, TRADES
from graphql_api.domain.trade import TradeFilter
from graphql_api.postgres import tables
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import Options, migrate
from graphql_api.relational.filters import ALL_ROWS, Filter, StringFilter, parse_filter
from graphql_api.relational.page_query import PageShape, page_statement
from graphql_api.relational.pagination import SortOrder
from graphql_api.relational.relation import RelationReader
from tests import factories

pytestmark = pytest.mark.slow

# Trades lie in the table as they were written. In its older half every tenth is of the old session, and of
# the old strategy; those of others lie in between.
FILL = """
    INSERT INTO trades
        (session_id, strategy_id, symbol, direction, entry_price, size, status, entry_time, pnl)
    SELECT
        CASE WHEN n > 10000 AND n % 10 = 0 THEN $1::uuid ELSE $2::uuid END,
        CASE WHEN n > 10000 AND n % 10 = 0 THEN $3::uuid ELSE $4::uuid END,
        CASE n % 7 WHEN 0 THEN 'EURUSD' ELSE 'XAUUSD' END,
        'buy', 1, n % 3, 'closed', now() - n * interval '1 minute', n % 977
    FROM generate_series(20000, 1, -1) AS n
"""
MANY_SESSIONS = """
    WITH sessions AS (
        INSERT INTO trading_sessions (account_id) SELECT $1 FROM generate_series(1, 2000) RETURNING id
    ), numbered AS (SELECT id, row_number() OVER (ORDER BY id) AS n FROM sessions)
    INSERT INTO trades (session_id, symbol, direction, entry_price, size, status, pnl, entry_time)
    SELECT id, 'EURUSD', 'buy', 1, 1, 'closed', -1, now() - (n + 2000 * lap) * interval '1 minute'
    FROM numbered, generate_series(0, 2) AS lap
"""
ORDERS = ("pnl", "size", "symbol", "exit_time", "ai_confidence")
RELATIONS = {
    "a tenant's": (RelationReader(TRADES), True),
    "an account's": (RelationReader(TRADES, ACCOUNTS, tables.sessions.c.account_id), False),
    "a session's": (RelationReader(TRADES, SESSIONS, tables.trades.c.session_id), True),
    "a tenant's of a strategy": (RelationReader(TRADES, STRATEGIES, tables.trades.c.strategy_id), True),
    "everybody's of a strategy": (RelationReader(TRADES, STRATEGIES, tables.trades.c.strategy_id), False),
}
EURUSD = parse_filter(TradeFilter(symbol=StringFilter(eq="EURUSD")))


@pytest.fixture
async def parents(address: Address, connection: "asyncpg.Connection") -> Mapping[Any, str]:
    """The ids of the old session and all above it, in a database with the operators' indexes."""
    await migrate(address, options=Options(operator_indexes=True))
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    other = await factories.account(connection, await factories.user(connection))
    old, new = [await factories.session(connection, each) for each in (account, other)]
    strategies = [await factories.strategy(connection) for _ in range(2)]
    await connection.execute(FILL, old, new, *strategies)
    await connection.execute("VACUUM ANALYZE")
    return {None: user, ACCOUNTS: account, SESSIONS: old, STRATEGIES: strategies[0]}


async def plan_of(
    connection: "asyncpg.Connection",
    parents: Mapping[Any, str],
    relation: RelationReader,
    shape: PageShape,
    chosen: Filter = ALL_ROWS,
    *,
    for_tenant: bool,
    explain: str = "COSTS",
) -> str:
    """The plan of a page's statement."""
    statement = page_statement(relation, shape, for_tenant)
    # As statements send their moments.
    await connection.set_builtin_type_codec(
        "timestamptz", schema="pg_catalog", codec_name="text", format="text"
    )
    (place,) = await connection.fetch("SELECT * FROM trades WHERE pnl = 1 LIMIT 1")
    values = {
        **dict(chosen.parameters),
        "keys": [parents[relation.parent]],
        "tenant": parents[None],
        "tenants": [parents[None]],
        "fetch": 21,
        "limit": 10_000,
        "after_key": place[shape.order.column.name],
        "after_id": place["id"],
    }
    rows = await connection.fetch(f"EXPLAIN ({explain}) {statement.sql}", *statement.arguments(values))
    return "\n".join(row[0] for row in rows)


async def rows_read(
    connection: "asyncpg.Connection",
    parents: Mapping[Any, str],
    relation: RelationReader,
    shape: PageShape,
    *,
    for_tenant: bool,
) -> Counter[str]:
    """How many rows a page's statement reads from each index."""
    plan = await plan_of(
        connection, parents, relation, shape, for_tenant=for_tenant, explain="ANALYZE, FORMAT JSON"
    )
    found: Counter[str] = Counter()
    nodes = [json.loads(plan)[0]["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", ())
        if "Index Name" in node:
            found[node["Index Name"]] += round(node["Actual Rows"] * node["Actual Loops"])
    return found


async def test_a_list_in_an_order_without_index_reads_its_own_rows(
    connection: "asyncpg.Connection", parents: Mapping[Any, str]
) -> None:
    for (relation, for_tenant), column, chosen, after in product(
        RELATIONS.values(), ORDERS, (ALL_ROWS, EURUSD), (False, True)
    ):
        shape = PageShape(SortOrder(tables.trades.c[column]), after=after, predicate=chosen.predicate)
        plan = await plan_of(connection, parents, relation, shape, chosen, for_tenant=for_tenant)
        assert "idx_trades_operators" not in plan
        assert "idx_trades_s" in plan  # of sessions, or of strategies


async def test_a_list_by_entry_is_read_from_the_index_of_its_parent(
    connection: "asyncpg.Connection", parents: Mapping[Any, str]
) -> None:
    """The newest trades of a session that ended long ago are behind all trades since then."""
    for (relation, for_tenant), descending, after in product(
        RELATIONS.values(), (False, True), (False, True)
    ):
        shape = PageShape(SortOrder(tables.trades.c.entry_time, descending=descending), after=after)
        read = await rows_read(connection, parents, relation, shape, for_tenant=for_tenant)
        assert read["idx_trades_page"] == 0
        assert 0 < read["idx_trades_session_page"] + read["idx_trades_strategy_page"] <= 22


async def test_a_page_of_many_sessions_reads_as_few_trades_as_it_can(
    connection: "asyncpg.Connection", parents: Mapping[Any, str]
) -> None:
    """Of everybody's trades, until the page is full; of an account that rests, one of each session first.

    Its sessions have three trades each, which are among the newest; every other trade is another's.
    In the older half of all trades, where the cursor is, nine of ten are another's.
    """
    await connection.execute(MANY_SESSIONS, parents[ACCOUNTS])
    await connection.execute("VACUUM ANALYZE")
    for (relation, for_tenant), after in product(list(RELATIONS.values())[:2], (False, True)):
        shape = PageShape(SortOrder(tables.trades.c.entry_time, descending=True), after=after)
        read = await rows_read(connection, parents, relation, shape, for_tenant=for_tenant)
        assert read["idx_trades_page"] <= (220 if after else 60)
        assert read["idx_trades_session_page"] == 0

    await connection.execute("UPDATE trades SET entry_time = entry_time - interval '1 year' WHERE pnl = -1")
    await connection.execute("VACUUM ANALYZE")
    for relation, for_tenant in list(RELATIONS.values())[:2]:
        shape = PageShape(SortOrder(tables.trades.c.entry_time, descending=True))
        read = await rows_read(connection, parents, relation, shape, for_tenant=for_tenant)
        assert read["idx_trades_page"] <= 2001  # as many as it has sessions
        assert read["idx_trades_session_page"] <= 2001 + 21 * 21


async def test_a_limited_reading_ends_with_the_page(
    connection: "asyncpg.Connection", parents: Mapping[Any, str]
) -> None:
    all_, of_strategy = RelationReader(TRADES), RELATIONS["everybody's of a strategy"][0]
    for relation, column, index in (
        (all_, "entry_time", "idx_trades_page"),
        (of_strategy, "entry_time", "idx_trades_strategy_page"),
        (all_, "pnl", "idx_trades_operators_pnl"),
        (all_, "symbol", "idx_trades_operators_symbol"),
    ):
        for after in (False, True):
            order = SortOrder(tables.trades.c[column])
            shape = PageShape(order, after=after, predicate=EURUSD.predicate, limited=True)
            plan = await plan_of(connection, parents, relation, shape, EURUSD, for_tenant=False)
            assert index in plan
            assert "Sort" not in plan
