"""Writes the sample data into a database, once."""

from datetime import UTC, datetime

from graphql_api.dev.demo.copying import copy_records
from graphql_api.dev.demo.desk import EMAILS, OPERATOR
from graphql_api.dev.demo.sample import make
from graphql_api.postgres.address import Address

SEED = 7
TRADES = 30_000

_KNOWN = "SELECT EXISTS (SELECT FROM users WHERE email = ANY ($1))"
_ANYBODY = "SELECT EXISTS (SELECT FROM users)"
_GRANT = (
    "INSERT INTO graphql_api.user_roles (user_id, role) SELECT id, 'operator' FROM users WHERE email = $1"
)


class OtherUsersError(Exception):
    """The database has users, none of the sample's: none with a well-known password may be added."""

    def __init__(self) -> None:
        super().__init__("the database has users of its own: demo data, whose passwords all know, is refused")


async def load(
    address: Address,
    *,
    password_hash: str,
    trades: int = TRADES,
    seed: int = SEED,
    now: datetime | None = None,
) -> bool:
    """Writes the sample of `seed`, as it looks at `now`, in one transaction; returns whether it was written.

    Everyone in it has the password that `password_hash` is of, and operator@example.com is an operator. A
    database that has any of its users is left as it is. Raises OtherUsersError for one that has none of
    them but others, and asyncpg's errors.
    """
    connection = await address.connect_plain(application="graphql-api demo")
    try:
        async with connection.transaction():
            # Another process that loads at the same time waits here, and then finds the users.
            await connection.execute("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
            if await connection.fetchval(_KNOWN, list(EMAILS)):
                return False
            if await connection.fetchval(_ANYBODY):
                raise OtherUsersError
            sample = make(seed=seed, now=now or datetime.now(UTC), trades=trades, password_hash=password_hash)
            for table, records in sample.tables():
                await copy_records(connection, table, records)
            await connection.execute(_GRANT, OPERATOR)
        await connection.execute("ANALYZE")
        return True
    finally:
        await connection.close()
