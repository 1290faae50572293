"""Statistics read the trades of their own parents, and nobody else's."""

import asyncpg

from graphql_api.domain.policy import ACCOUNTS, TRADES
from graphql_api.domain.statistics import aggregates, trade_set
from graphql_api.postgres import tables
from graphql_api.relational.filters import MATCH_ALL
from graphql_api.relational.relation import RelationReader
from tests import factories

FILL = """
    INSERT INTO trades (session_id, symbol, direction, entry_price, size, status, entry_time, exit_time, pnl)
    SELECT
        $1, 'EURUSD', 'buy', 1, 1, CASE n % 200 WHEN 0 THEN 'open' ELSE 'closed' END, now(),
        CASE WHEN n % 200 > 0 THEN now() END, CASE WHEN n % 200 > 0 THEN 1 END
    FROM generate_series(1, $2::int) AS n
"""


async def test_exposure_does_not_go_through_everybody_s_open_trades(
    connection: "asyncpg.Connection",
) -> None:
    user = await factories.user(connection)
    for trades in (20_000, 300):
        account = await factories.account(connection, user)
        await connection.execute(FILL, await factories.session(connection, account), trades)
    await connection.execute("ANALYZE")
    below_account = RelationReader(TRADES, ACCOUNTS, tables.sessions.c.account_id)
    statement = trade_set._statement(aggregates._exposure, below_account, MATCH_ALL, True)
    arguments = statement.arguments({"keys": [account], "tenants": [user]})
    plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement.sql}", *arguments))

    assert "idx_trades_session" in plan
    assert "idx_trades_by_status" not in plan
