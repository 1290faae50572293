"""What changes as a deployment grows: `python -m benchmarks.growth` prints what docs/scaling.md measured.

The same small query is asked with 10 users and with 1,000 users of 100 accounts each; of one process, and of
several behind HAProxy; and with many idle connections. CPU is measured, which other work on the machine
changes little. Finally, ten thousand sockets follow the log of one process.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop

from benchmarks import data, fanout
from benchmarks.cpu import cpu_seconds
from benchmarks.load import Request, drive, post
from benchmarks.postgres import Server, connected, running
from benchmarks.servers import OURS, Running
from benchmarks.servers import running as serving
from graphql_api.identity import service_tokens
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.postgres.migrate import migrate
from tests.deploy.balancers import haproxy

QUERY = "{ viewer { user { accounts(first: 3) { nodes { id accountNumber } } } } }"
REQUESTS, CONNECTIONS, ASKING = 4000, 16, 50
IDLE = 60
SOCKETS = fanout.Crowd(sockets=10_000, each=1, rows=5, seconds=20, stalled=0)
USERS = """
WITH added AS (
    INSERT INTO users (email, password_hash)
    SELECT 'grown' || n || '@example.com', 'x' FROM generate_series(1, $1) AS n RETURNING id
), accounts AS (
    INSERT INTO tradelocker_accounts (user_id, account_number, server)
    SELECT id, left(id::text, 8) || n, 'DEMO' FROM added, generate_series(1, $2) AS n RETURNING id
)
INSERT INTO trading_sessions (account_id, initial_balance) SELECT id, 1000 FROM accounts
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds that a request takes."""

    service: float
    database: float
    balancer: float = 0.0


async def ask(port: int, tokens: Sequence[str], processes: Sequence[Running], database: int) -> Cost:
    """Sends the query as each of the viewers, over and over."""
    body = json.dumps({"query": QUERY}).encode()
    requests = [Request(post("/graphql", body, {"Authorization": f"Bearer {token}"})) for token in tokens]
    balancers = [each.pid for each in psutil.Process().children() if each.name() == "haproxy"]

    def used() -> tuple[float, float, float]:
        return (
            sum(cpu_seconds(process.process) for process in processes),
            cpu_seconds(database),
            sum(map(cpu_seconds, balancers)),
        )

    await drive(port, requests, count=REQUESTS // 2, connections=CONNECTIONS)  # a warm-up
    before = used()
    await drive(port, requests, count=REQUESTS, connections=CONNECTIONS)
    return Cost(*((after - former) / REQUESTS * 1000 for after, former in zip(used(), before, strict=True)))


async def tokens_of_some(address: Address) -> list[str]:
    """Tokens of so many of the users as ask."""
    database = Database(address)
    async with connected(address) as connection:
        users = await connection.fetch(
            "SELECT id::text FROM users WHERE email LIKE 'grown%' ORDER BY id LIMIT $1", ASKING
        )
    made = [
        await service_tokens.create(database, "growth", [Scope.GRAPH_READ], user_id=row["id"], lifetime=None)
        for row in users
    ]
    await database.close()
    return [each.text for each in made]


@asynccontextmanager
async def processes_on(address: Address, count: int, folder: Path) -> AsyncIterator[list[Running]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(serving(OURS, address, folder / f"log{number}"))
            for number in range(count)
        ]


async def grown(postgres: Server, users: int, accounts: int) -> Address:
    """A database with so many users, and so many accounts of each."""
    address = await postgres.create("growth")
    await migrate(address)
    async with connected(address) as connection:
        await connection.execute(USERS.replace("$1", str(users)).replace("$2", str(accounts)))
        await connection.execute("VACUUM ANALYZE")
    return address


async def main(postgres: Server, folder: Path) -> None:
    """Prints a row for each way to grow."""
    database = await postgres.process()

    def show(what: str, cost: Cost) -> None:
        print(f"| {what} | {cost.service:.2f} | {cost.database:.2f} | {cost.balancer:.2f} |", flush=True)

    for users, accounts in ((10, 3), (1000, 100)):
        address = await grown(postgres, users, accounts)
        tokens = await tokens_of_some(address)
        async with processes_on(address, 1, folder) as processes:
            show(
                f"{users:,} users of {accounts} accounts",
                await ask(processes[0].port, tokens, processes, database),
            )
            async with AsyncExitStack() as stack:
                for _ in range(IDLE):
                    await stack.enter_async_context(connected(address))
                show(
                    f"the same, beside {IDLE} idle connections",
                    await ask(processes[0].port, tokens, processes, database),
                )
    for count in (1, 2, 4):
        async with (
            processes_on(address, count, folder) as processes,
            haproxy(folder, [process.port for process in processes]) as url,
        ):
            cost = await ask(int(url.rsplit(":", 1)[1]), tokens, processes, database)
            show(f"{count} process{'es' * (count > 1)} behind HAProxy", cost)
    address, _ = await data.prepare(postgres)
    followed = await fanout.measure(address, [SOCKETS])
    print(fanout.fanout_table(followed))


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as logs,
        running(Path(".data/benchmarks")) as server,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(main(server, Path(logs)))
