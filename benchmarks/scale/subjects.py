"""The users, accounts and sessions of one database that questions are asked about."""

from dataclasses import dataclass

from benchmarks.scale.data import USER
from benchmarks.scale.graph import Graph

_OWN = """
    WITH own AS (
        SELECT session_id, account_id, strategy_id
        FROM tradelocker_accounts
        JOIN trading_sessions ON account_id = tradelocker_accounts.id
        JOIN trades ON session_id = trading_sessions.id
        WHERE user_id = $1
    ), most AS (
        SELECT account_id FROM own GROUP BY 1 ORDER BY count(*) DESC LIMIT 1
    )
    SELECT
        (TABLE most) AS account,
        (
            SELECT session_id FROM own WHERE account_id = (TABLE most)
            GROUP BY 1 ORDER BY count(*) DESC LIMIT 1
        ) AS session,
        (
            SELECT strategy_id FROM own WHERE strategy_id IS NOT NULL
            GROUP BY 1 ORDER BY count(*) DESC LIMIT 1
        ) AS strategy
"""
_BY_SIZE = """
    SELECT account_id AS id, user_id AS owner
    FROM trades
    JOIN trading_sessions ON trading_sessions.id = session_id
    JOIN tradelocker_accounts ON tradelocker_accounts.id = account_id
    GROUP BY 1, 2 ORDER BY count(*), 1
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Ids."""

    id: str
    owner: str


@dataclass(frozen=True, slots=True)
class Subjects:
    """Ids: a trader's; of theirs the largest account, its largest session, the strategy used most."""

    trader: str
    account: str
    session: str
    strategy: str
    smallest: Account
    """The account with the fewest trades, at least one."""
    largest: Account


async def subjects(graph: Graph) -> Subjects:
    """Finds them in a database."""
    connection = await graph.address.connect()
    try:
        trader = await connection.fetchval("SELECT id FROM users WHERE email = $1", USER)
        (own,) = await connection.fetch(_OWN, trader)
        by_size = await connection.fetch(_BY_SIZE)
    finally:
        await connection.close()
    return Subjects(trader, **own, smallest=Account(**by_size[0]), largest=Account(**by_size[-1]))
