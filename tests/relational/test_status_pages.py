"""Pages of one status by exit or by pnl: they begin where its trades do, not where the order does."""

import asyncpg
import pytest

from graphql_api.domain.policy import TRADES
from graphql_api.domain.trade import TradeFilter, TradeStatus
from graphql_api.postgres import tables
from graphql_api.relational.filters import StringFilter, parse_filter
from graphql_api.relational.page_query import PageShape, page_statement
from graphql_api.relational.pagination import SortOrder
from graphql_api.relational.relation import RelationLoader

pytestmark = pytest.mark.slow

# One in ten is cancelled, and has neither an exit nor a result.
FILL = """
    INSERT INTO trades (symbol, direction, entry_price, size, status, entry_time, exit_time, pnl)
    SELECT
        CASE n % 7 WHEN 0 THEN 'EURUSD' ELSE 'XAUUSD' END, 'buy', 1, 1,
        CASE n % 10 WHEN 0 THEN 'cancelled' ELSE 'closed' END, now() - n * interval '1 minute',
        CASE WHEN n % 10 > 0 THEN now() - n * interval '1 minute' + interval '1 hour' END,
        CASE WHEN n % 10 > 0 THEN n % 977 END
    FROM generate_series(1, 20000) AS n
"""


@pytest.mark.parametrize("status", [TradeStatus.CLOSED, TradeStatus.CANCELLED])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("column", ["exit_time", "pnl"])
async def test_a_page_of_one_status_begins_at_its_first_trade(
    connection: "asyncpg.Connection", column: str, descending: bool, status: TradeStatus
) -> None:
    await connection.execute(FILL)
    await connection.execute("ANALYZE trades")
    chosen = parse_filter(TradeFilter(status=[status], symbol=StringFilter(eq="EURUSD")))
    order = SortOrder(tables.trades.c[column], descending=descending)
    statement = page_statement(RelationLoader(TRADES), PageShape(order, predicate=chosen.predicate), False)
    arguments = statement.arguments({**dict(chosen.parameters), "fetch": 21, "keys": ["root"]})
    rows = await connection.fetch(f"EXPLAIN {statement.sql}", *arguments)

    assert f"idx_trades_by_status_{column}" in "\n".join(row[0] for row in rows)
