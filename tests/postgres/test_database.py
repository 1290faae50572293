import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from graphql_api.dev.embedded import EmbeddedPostgres
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.errors import ConnectionLostError, DatabaseUnavailableError
from graphql_api.postgres.statement import compile_statement
from graphql_api.quotas import Usage
from tests.postgres.proxy import proxy_to

PID = compile_statement(text("SELECT pg_backend_pid() AS pid"))
SLEEP = compile_statement(text("SELECT pg_backend_pid() AS pid, pg_sleep(:seconds)"))
NUMBER = compile_statement(text("SELECT CAST(:n AS integer) AS n"))
DETAILS = compile_statement(text("""SELECT '{"a": [1, 2.50]}'::jsonb AS details"""))
ADD_USER = compile_statement(text("INSERT INTO users (email, password_hash) VALUES (:email, 'x')"))
LOCK = compile_statement(text("SELECT pg_backend_pid() AS pid, pg_advisory_xact_lock(1)"))
COUNT_USERS = compile_statement(text("SELECT count(*) AS n FROM users"))
DIVIDE_BY_ZERO = compile_statement(text("SELECT 1 / 0"))

SLEEPING = (
    "FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid()"
    " AND datname = current_database()"
)
LOCKED = "FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"


@asynccontextmanager
async def opened(address: Address, **options: float) -> AsyncIterator[Database]:
    database = Database(address, **options)  # type: ignore[arg-type]
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def single(address: Address) -> AsyncIterator[Database]:
    """A pool of one connection, so that each use gets the connection that the one before has left."""
    async with opened(address, pool_size=1, pool_timeout=60) as database:
        yield database


async def until(connection: "asyncpg.Connection", condition: str) -> None:
    """Waits until an SQL condition is true; pytest's timeout is the limit."""
    while not await connection.fetchval(f"SELECT {condition}"):
        await asyncio.sleep(0.01)


async def pid_of(database: Database) -> int:
    return int((await database.fetch(PID))[0]["pid"])


async def test_a_read_returns_rows(database: Database) -> None:
    assert [dict(row) for row in await database.fetch(NUMBER, n=7)] == [{"n": 7}]


async def test_reads_start_no_parallel_workers(database: Database) -> None:
    workers = compile_statement(text("SHOW max_parallel_workers_per_gather"))
    assert [dict(row) for row in await database.fetch(workers)] == [{"max_parallel_workers_per_gather": "0"}]


async def test_json_arrives_as_the_text_it_is(database: Database) -> None:
    assert (await database.fetch(DETAILS))[0]["details"] == '{"a": [1, 2.50]}'


async def test_concurrent_reads_never_share_a_connection(address: Address) -> None:
    async with opened(address, pool_size=3) as database:
        rows = await asyncio.gather(*(database.fetch(SLEEP, seconds=0.3) for _ in range(3)))

    assert len({row[0]["pid"] for row in rows}) == 3


async def test_more_reads_than_connections_wait_for_their_turn(address: Address) -> None:
    async with opened(address, pool_size=2) as database:
        rows = await asyncio.gather(*(database.fetch(SLEEP, seconds=0.02) for _ in range(20)))

    assert len({row[0]["pid"] for row in rows}) == 2


async def test_an_exhausted_pool_says_so(address: Address) -> None:
    async with opened(address, pool_size=1, pool_timeout=0.1) as database, database.transaction():
        with pytest.raises(DatabaseUnavailableError):
            await database.fetch(PID)


async def test_a_connection_given_to_a_cancelled_wait_goes_to_the_next(single: Database) -> None:
    async with single.transaction():
        given_up, waiting = (asyncio.create_task(pid_of(single)) for _ in range(2))
        await asyncio.sleep(0)  # both wait
    given_up.cancel()  # though it has just been given the connection

    assert isinstance(await waiting, int)
    assert given_up.cancelled()


async def test_closing_ends_the_waits_for_a_connection(address: Address) -> None:
    async with opened(address, pool_size=1) as database, database.transaction():
        waiting = asyncio.create_task(pid_of(database))
        await asyncio.sleep(0)
        await database.close()
        with pytest.raises(DatabaseUnavailableError):
            await waiting


async def test_a_wait_counts_no_time_that_others_had(address: Address) -> None:
    async with opened(address, pool_size=1, pool_timeout=1.5) as database:
        await database.ping()  # opens the connection, which may take as long
        reads = [asyncio.create_task(database.fetch(SLEEP, seconds=0.5)) for _ in range(5)]
        outcomes = await asyncio.gather(*reads, return_exceptions=True)

    failed = [outcome for outcome in outcomes if isinstance(outcome, DatabaseUnavailableError)]
    assert len(failed) == sum(isinstance(outcome, Exception) for outcome in outcomes) > 0
    assert outcomes[:2] == [outcome for outcome in outcomes[:2] if not isinstance(outcome, Exception)]


async def test_a_cancelled_read_ends_at_the_server_too(
    single: Database, connection: "asyncpg.Connection"
) -> None:
    read = asyncio.create_task(single.fetch(SLEEP, seconds=600))
    await until(connection, f"count(*) = 1 {SLEEPING}")

    read.cancel()

    await until(connection, f"count(*) = 0 {SLEEPING}")
    assert read.cancelled()


async def test_a_cancelled_read_leaves_its_connection_to_the_next(
    single: Database, connection: "asyncpg.Connection"
) -> None:
    before = await pid_of(single)
    for _ in range(3):
        read = asyncio.create_task(single.fetch(SLEEP, seconds=600))
        await until(connection, f"count(*) = 1 {SLEEPING}")
        read.cancel()
        assert await pid_of(single) == before


async def test_a_statement_beyond_its_time_is_cancelled(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    async with opened(address, statement_timeout=0.1) as database:
        with pytest.raises(TimeoutError):
            await database.fetch(SLEEP, seconds=600)
        await until(connection, f"count(*) = 0 {SLEEPING}")


async def test_a_read_whose_backend_is_killed_is_repeated(
    single: Database, connection: "asyncpg.Connection"
) -> None:
    before = await pid_of(single)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(1)")
        read = asyncio.create_task(single.fetch(LOCK))
        await until(connection, f"count(*) = 1 {LOCKED}")
        await connection.execute(f"SELECT pg_terminate_backend({before}, 5000)")

    assert (await read)[0]["pid"] != before


async def test_a_read_that_loses_every_connection_is_unavailable(
    single: Database, connection: "asyncpg.Connection"
) -> None:
    read = asyncio.create_task(single.fetch(SLEEP, seconds=600))
    while not read.done():
        await connection.execute(f"SELECT pg_terminate_backend(pid) {SLEEPING}")

    with pytest.raises(ConnectionLostError):
        await read


async def test_idle_connections_that_the_server_closed_are_replaced(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    async with opened(address, pool_size=5) as database:
        await asyncio.gather(*(database.fetch(SLEEP, seconds=0.1) for _ in range(5)))
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

        rows = await asyncio.gather(*(database.fetch(SLEEP, seconds=0.1) for _ in range(5)))

    assert len(rows) == 5


FATAL = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"


@pytest.mark.parametrize("is_transaction", [False, True], ids=["reads", "transactions"])
async def test_connections_that_have_just_ended_are_all_replaced(
    address: Address, *, is_transaction: bool
) -> None:
    """The server says that it ends a connection, and closes it a moment later."""
    async with proxy_to(address) as proxy, opened(Address.parse(proxy.url(address)), pool_size=5) as database:

        async def use() -> None:
            if is_transaction:
                async with database.transaction() as transaction:
                    await transaction.fetch(SLEEP, seconds=0.1)
            else:
                await database.fetch(SLEEP, seconds=0.1)

        await asyncio.gather(*(use() for _ in range(5)))
        ended = list(proxy.connections)
        for client in ended:
            client.write(b"E" + (len(FATAL) + 4).to_bytes(4, "big") + FATAL)
        await asyncio.sleep(0.1)
        uses = [asyncio.create_task(use()) for _ in range(5)]
        for client in ended:
            client.close()
        await asyncio.gather(*uses)


async def test_one_killed_backend_costs_the_others_nothing(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    async with opened(address, pool_size=2) as database:
        first, second = await asyncio.gather(*(database.fetch(SLEEP, seconds=0.1) for _ in range(2)))
        await connection.execute(f"SELECT pg_terminate_backend({first[0]['pid']}, 5000)")

        rows = await asyncio.gather(*(database.fetch(SLEEP, seconds=0.1) for _ in range(2)))

    assert second[0]["pid"] in {row[0]["pid"] for row in rows}


async def test_what_the_server_refuses_is_the_callers_to_see(single: Database) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await single.fetch(DIVIDE_BY_ZERO)


@pytest.mark.parametrize("value", ["seven", 1 << 40])
async def test_a_wrong_argument_is_not_taken_for_an_outage(single: Database, value: object) -> None:
    before = await pid_of(single)

    with pytest.raises(asyncpg.DataError):
        await single.fetch(NUMBER, n=value)
    assert await pid_of(single) == before


async def test_a_failure_is_not_taken_for_the_time_of_a_round_trip(single: Database) -> None:
    await single.fetch(SLEEP, seconds=0.05)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await single.fetch(DIVIDE_BY_ZERO)
    assert single._round_trip >= 0.05


async def test_failures_take_no_connection_away(single: Database) -> None:
    for _ in range(3):
        with pytest.raises(asyncpg.DivisionByZeroError):
            await single.fetch(DIVIDE_BY_ZERO)

    assert (await single.fetch(NUMBER, n=7))[0]["n"] == 7


async def test_a_transaction_commits_at_its_end(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.fetch(ADD_USER, email="a@example.com")

    assert (await database.fetch(COUNT_USERS))[0]["n"] == 1


async def test_a_transaction_is_unseen_until_its_end(database: Database) -> None:
    async with database.transaction() as transaction:
        await transaction.fetch(ADD_USER, email="a@example.com")
        assert (await database.fetch(COUNT_USERS))[0]["n"] == 0


async def test_a_transaction_rolls_back_on_an_error(single: Database) -> None:
    async def work() -> None:
        async with single.transaction() as transaction:
            await transaction.fetch(ADD_USER, email="a@example.com")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert (await single.fetch(COUNT_USERS))[0]["n"] == 0


async def test_a_transaction_rolls_back_on_a_statement_that_fails(single: Database) -> None:
    async def work() -> None:
        async with single.transaction() as transaction:
            await transaction.fetch(ADD_USER, email="a@example.com")
            await transaction.fetch(ADD_USER, email="a@example.com")

    with pytest.raises(asyncpg.UniqueViolationError):
        await work()
    assert (await single.fetch(COUNT_USERS))[0]["n"] == 0


async def test_a_cancelled_transaction_rolls_back(single: Database, connection: "asyncpg.Connection") -> None:
    async def work() -> None:
        async with single.transaction() as transaction:
            await transaction.fetch(ADD_USER, email="a@example.com")
            await transaction.fetch(SLEEP, seconds=600)

    task = asyncio.create_task(work())
    await until(connection, f"count(*) = 1 {SLEEPING}")
    task.cancel()
    await asyncio.wait([task])

    assert (await single.fetch(COUNT_USERS))[0]["n"] == 0


async def test_a_transaction_that_loses_its_connection_is_not_repeated(
    single: Database, connection: "asyncpg.Connection"
) -> None:
    async def work() -> None:
        async with single.transaction() as transaction:
            await transaction.fetch(ADD_USER, email="a@example.com")
            pid = (await transaction.fetch(PID))[0]["pid"]
            await connection.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
            await transaction.fetch(ADD_USER, email="b@example.com")

    with pytest.raises(ConnectionLostError):
        await work()
    assert (await single.fetch(COUNT_USERS))[0]["n"] == 0


async def test_a_transaction_begins_on_a_live_connection(
    single: Database, connection: "asyncpg.Connection"
) -> None:
    await connection.execute(f"SELECT pg_terminate_backend({await pid_of(single)}, 5000)")

    async with single.transaction() as transaction:
        await transaction.fetch(ADD_USER, email="a@example.com")

    assert (await single.fetch(COUNT_USERS))[0]["n"] == 1


async def test_a_stopped_server_is_unavailable_and_needs_no_help_to_come_back(scratch: Path) -> None:
    postgres = EmbeddedPostgres(scratch / "server", settings={"fsync": "off"})
    async with opened(Address.parse(postgres.start())) as database:
        await asyncio.gather(*(database.fetch(SLEEP, seconds=0.1) for _ in range(5)))

        postgres.stop()
        for _ in range(3):
            with pytest.raises(DatabaseUnavailableError):
                await database.ping()
            with pytest.raises(DatabaseUnavailableError):
                async with database.transaction():
                    pass

        postgres.start()
        await database.ping()
    postgres.stop()


async def test_a_database_that_takes_no_more_connections_is_unavailable(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    await connection.execute("CREATE ROLE modest LOGIN CONNECTION LIMIT 0")
    async with opened(Address.parse(address.dsn.replace("postgres@", "modest@"))) as database:
        with pytest.raises(DatabaseUnavailableError):
            await database.ping()
    await connection.execute("DROP ROLE modest")


async def test_a_closed_pool_leaves_no_connection(address: Address, connection: "asyncpg.Connection") -> None:
    async with opened(address) as database:
        await asyncio.gather(*(database.fetch(SLEEP, seconds=0.1) for _ in range(5)))

    await until(connection, "count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()")


async def test_one_owners_statements_leave_connections_to_others(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    async with opened(address, pool_size=4, pool_timeout=60) as database:
        done: list[str] = []

        async def ask(owner: str, name: str, seconds: float) -> None:
            with Usage(owner):
                await database.fetch(SLEEP, seconds=seconds)
            done.append(name)

        flood = [asyncio.create_task(ask("ada", f"ada {number}", 600)) for number in range(6)]
        await until(connection, f"count(*) = 2 {SLEEPING}")
        assert database.pool_usage() == (4, 2)
        await asyncio.gather(ask("bob", "bob", 0), ask("", "the process", 0))
        assert set(done) == {"bob", "the process"}
        assert database.pool_usage() == (4, 2)
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)
        assert [database._quota.taken(owner) for owner in ("ada", "bob", "")] == [0, 0, 0]


async def test_owners_leave_one_connection_to_the_process(
    address: Address, connection: "asyncpg.Connection"
) -> None:
    async with opened(address, pool_size=4, pool_timeout=60) as database:

        async def ask(owner: str) -> None:
            with Usage(owner):
                await database.fetch(SLEEP, seconds=600)

        flood = [asyncio.create_task(ask(owner)) for owner in ("ada", "bob", "eve") for _ in range(3)]
        await until(connection, f"count(*) = 3 {SLEEPING}")
        assert database.pool_usage() == (4, 3)
        await database.ping()
        assert not any(task.done() for task in flood)
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)


async def test_a_host_that_has_moved_is_looked_up_again(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a failover by DNS: no answer of the resolver outlives a connection."""
    resolve, names = socket.getaddrinfo, {"db.internal": "127.0.0.1"}

    def resolved(host: object, *arguments: object, **options: object) -> object:
        return resolve(names.get(str(host), host), *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    async with (
        proxy_to(address) as former,
        proxy_to(address, host="127.0.0.2", port=former.port) as present,
        opened(Address.parse(former.url(address).replace("127.0.0.1", "db.internal"))) as database,
    ):
        await database.ping()
        names["db.internal"] = "127.0.0.2"
        former.cut()
        await asyncio.sleep(0.1)
        await database.ping()
        assert len(present.connections) == 1
