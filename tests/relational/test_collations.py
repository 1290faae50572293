"""Texts whose column has a collation of its own."""

from pathlib import Path

import pytest

from graphql_api.postgres.migrate import migrate
from tests import factories
from tests.drills.servers import Server, programs_of_debian
from tests.graph import opened, settings_for, trader

TRADES = """
query ($filter: TradeFilter, $after: String) {
  trades(filter: $filter, first: 2, after: $after, orderBy: {field: SYMBOL, direction: ASC}) {
    nodes { symbol } pageInfo { endCursor }
  }
}
"""


@pytest.mark.slow
async def test_texts_of_a_nondeterministic_collation_are_searched_and_paged(tmp_path: Path) -> None:
    if (programs := programs_of_debian()) is None:
        pytest.skip("there is no PostgreSQL with ICU (Debian's package postgresql)")
    server = Server(programs=programs)
    try:
        await server.make()
        connection = await server.address.connect_plain()
        await connection.execute("""
            CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
            ALTER TABLE trades ALTER symbol TYPE varchar(20) COLLATE any_case;
        """)
        await migrate(server.address)
        user = await factories.user(connection)
        session = await factories.session(connection, await factories.account(connection, user))
        for symbol in ("EURUSD", "eurusd", "EURJPY", "GBPUSD"):
            await factories.trade(connection, session, symbol=symbol)
        await connection.close()
        async with opened(settings_for(server.address, tmp_path)) as graph:

            async def symbols(after: str | None = None, **filter_: object) -> list[str]:
                answer = await graph.as_(trader(user)).ask(TRADES, {"filter": filter_, "after": after})
                page = answer.data["trades"]
                found = [row["symbol"] for row in page["nodes"]]
                rest = await symbols(page["pageInfo"]["endCursor"], **filter_) if len(found) == 2 else []
                return found + rest

            folded = [symbol.lower() for symbol in await symbols()]
            assert folded == ["eurjpy", "eurusd", "eurusd", "gbpusd"]
            assert await symbols(symbol={"contains": "JPY"}) == ["EURJPY"]
            assert set(await symbols(symbol={"startsWith": "eurU"})) == {"EURUSD", "eurusd"}
            assert set(await symbols(symbol={"eq": "EurUsd"})) == {"EURUSD", "eurusd"}
    finally:
        server.remove()
