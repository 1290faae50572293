"""Two databases of one kind, a hundred thousand trades and many more; kept from run to run."""

from benchmarks.postgres import Server as Postgres
from benchmarks.postgres import connected
from graphql_api.cli.demo import PASSWORD
from graphql_api.dev.demo.load import TRADES, load
from graphql_api.dev.demo.scale import scale
from graphql_api.identity.passwords import PasswordHasher
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import Options, migrate

SMALL = 100_000
USER = "desk-000012@example.com"
"""Someone with two accounts of about ten thousand trades each, at any size."""
RARE = "NZDUSD"
"""A symbol that a thousand trades have, at any size."""

_MAKE_RARE = "UPDATE trades SET symbol = $1 WHERE id IN (SELECT id FROM trades ORDER BY id LIMIT 1000)"
_SEARCH = "SELECT true FROM pg_database WHERE datname = $1 AND shobj_description(oid, 'pg_database') = 'made'"


async def prepare(postgres: Postgres, trades: int, sample: int = TRADES) -> Address:
    """A database with so many trades, `sample` of them the demo's, made unless a former run has made it."""
    name = f"scale_{trades}"
    async with postgres.connection() as connection:
        made = await connection.fetchval(_SEARCH, name)
    address = postgres.address(name) if made else await postgres.create(name)
    await migrate(address, options=Options(operator_indexes=True))
    if not made:
        passwords = PasswordHasher(threads=1)
        await load(address, password_hash=await passwords.hash(PASSWORD), trades=sample)
        passwords.close()
        await scale(address, trades=trades)
        async with connected(address) as connection:
            await connection.execute(_MAKE_RARE, RARE)
            await connection.execute("VACUUM (ANALYZE) trades")
        async with postgres.connection() as connection:
            await connection.execute(f"COMMENT ON DATABASE {name} IS 'made'")
    return address
