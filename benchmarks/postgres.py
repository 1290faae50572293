"""The PostgreSQL of a run: our embedded one, in a folder of its own, set as a production server would be."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from graphql_api.dev.embedded import EmbeddedPostgres
from graphql_api.dev.embedded.programs import Programs, SystemUser
from graphql_api.postgres.address import Address

SETTINGS = {
    # Commits reach the disk, as they do in production: fsync and synchronous_commit stay on.
    "shared_buffers": "1GB",
    "effective_cache_size": "4GB",
    "maintenance_work_mem": "512MB",
    "random_page_cost": "1.1",
    "max_wal_size": "8GB",
    "max_connections": "200",
}

_BACKENDS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = $1 AND backend_type = 'client backend'
      AND application_name NOT IN ('pgbench', 'benchmarks')
"""
_READ_EVERY = 1.0  # seconds


@asynccontextmanager
async def connected(address: Address) -> AsyncIterator["asyncpg.Connection"]:
    """A plain connection, as another program would open it."""
    connection = await address.connect_plain(application="benchmarks")
    try:
        yield connection
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, by the URL of its maintenance database."""

    url: str

    def address(self, database: str) -> Address:
        """Where one of its databases is."""
        return Address.parse(self.url.replace("/postgres?", f"/{database}?"))

    @asynccontextmanager
    async def connection(self, database: str = "postgres") -> AsyncIterator["asyncpg.Connection"]:
        """A connection to one of its databases."""
        async with connected(self.address(database)) as connection:
            yield connection

    async def create(self, database: str) -> Address:
        """A new database of this name, in the place of any older one."""
        async with self.connection() as connection:
            await connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {database}")
        return self.address(database)

    async def version(self) -> str:
        """PostgreSQL's version number."""
        async with self.connection() as connection:
            return str(await connection.fetchval("SHOW server_version"))

    async def process(self) -> int:
        """The process that all backends are children of."""
        async with self.connection() as connection:
            folder = await connection.fetchval("SHOW data_directory")
        return int((Path(folder) / "postmaster.pid").read_text().split(maxsplit=1)[0])

    @asynccontextmanager
    async def backend_clock(self, database: str) -> AsyncIterator["BackendClock"]:
        """The CPU of the backends that serve a server's connections to a database, until the block ends."""
        async with self.connection() as connection:
            clock = BackendClock(connection, database)
            await clock.read()
            reading = asyncio.create_task(clock.keep_reading())
            try:
                yield clock
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)


class BackendClock:
    """The CPU of a server's PostgreSQL backends: neither of the writers' nor of the benchmark's own."""

    def __init__(self, connection: "asyncpg.Connection", database: str) -> None:
        self._connection = connection
        self._database = database
        self._lock = asyncio.Lock()
        self._seconds: dict[int, float] = {}
        """By process; one that has ended counts as it was last seen."""

    async def read(self) -> float:
        """Returns the CPU seconds, user and system, of all backends so far."""
        async with self._lock:
            for row in await self._connection.fetch(_BACKENDS, self._database):
                with suppress(FileNotFoundError, ProcessLookupError):
                    self._seconds[row["pid"]] = _seconds_on_cpu(row["pid"])
        return sum(self._seconds.values())

    async def keep_reading(self) -> None:
        """Reads often enough to miss little of backends that end."""
        while True:
            await asyncio.sleep(_READ_EVERY)
            await self.read()


def _seconds_on_cpu(process: int) -> float:
    """Returns the CPU seconds of a process with one thread, to the nanosecond, not to the tick of a clock."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A server on `folder`, which keeps its databases from run to run."""
    postgres = EmbeddedPostgres(folder, "postgres", SETTINGS)
    try:
        yield Server(postgres.start())
    finally:
        postgres.stop()


def pgbench(address: Address, *arguments: str) -> str:
    """What PostgreSQL's own load generator prints. Raises subprocess.CalledProcessError."""
    program = Programs.find(SystemUser(), None).folder / "pgbench"
    command = (str(program), *arguments, address.dsn)
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
