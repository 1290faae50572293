"""A client that reads at a cursor's moment and applies the events after it has the database's rows."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from graphql_api.domain.account_changes import CHANGES
from graphql_api.log_feed import BufferLimits, FeedOptions, TailOptions
from graphql_api.log_feed.feed import Feed
from graphql_api.postgres.address import Address
from tests import factories
from tests.activity.client import Client, truth
from tests.activity.writers import Writer
from tests.graph import Graph, opened, operator, settings_for, trader

KEY = b"the key that all processes share"


@pytest.fixture
async def accounts(connection: "asyncpg.Connection") -> list[str]:
    """Two users' accounts, two each."""
    users = [await factories.user(connection) for _ in range(2)]
    return [await factories.account(connection, user) for user in users for _ in range(2)]


async def of_user(connection: "asyncpg.Connection", account: str) -> list[str]:
    """The accounts that the owner of one has."""
    rows = await connection.fetch(
        "SELECT id::text FROM tradelocker_accounts"
        " WHERE user_id = (SELECT user_id FROM tradelocker_accounts WHERE id = $1)",
        account,
    )
    return [row["id"] for row in rows]


async def write(writers: Sequence[Writer], done: asyncio.Event) -> None:
    await asyncio.gather(*(writer.run(15) for writer in writers))
    done.set()


async def follow(client: Client, done: asyncio.Event) -> None:
    while not done.is_set():
        await client.follow(cut_off=True)


@pytest.mark.parametrize(("rows", "kept", "moves"), [(1, 4, 1), (3, 10_000, 1), (1, 4, 6), (20, 4, 6)])
async def test_copies_equal_the_database(
    address: Address,
    tmp_path: Path,
    connection: "asyncpg.Connection",
    accounts: list[str],
    rows: int,
    kept: int,
    moves: int,
) -> None:
    seed = random.SystemRandom().getrandbits(32)
    options = FeedOptions(
        tail=TailOptions(page_rows=rows, idle_interval=0.05),
        buffer=BufferLimits(rows=kept),
        catch_up_rows=rows,
        heartbeat=0.01,
    )
    async with AsyncExitStack() as processes:
        graphs: list[Graph] = []
        for _ in range(2):
            graph = await processes.enter_async_context(opened(settings_for(address, tmp_path)))
            feed = Feed(graph.services.database, address, KEY, options, CHANGES)
            processes.push_async_callback(feed.close)
            graphs.append(Graph(replace(graph.services, activity=feed), graph.operations))
        first_user, second_user = [
            await connection.fetchval("SELECT user_id::text FROM tradelocker_accounts WHERE id = $1", account)
            for account in (accounts[0], accounts[2])
        ]
        everyone = operator()
        viewers = [
            (trader(first_user), None),
            (trader(second_user), None),
            (trader(first_user), [accounts[0]]),
            (everyone, None),
            (everyone, [accounts[1], accounts[2]]),
        ]
        clients = [
            Client([graph.as_(viewer) for graph in graphs], chosen, seed + number)
            for number, (viewer, chosen) in enumerate(viewers)
        ]
        for client in clients:
            await client.snapshot()
        for round_ in count():
            # On a busy machine all clients may be behind all the time: go on until one wasn't.
            if round_ >= 4 and any(client.delivered for client in clients):
                break
            writers = [
                Writer(address, accounts, seed + 100 * round_ + number, moves=moves) for number in range(4)
            ]
            done = asyncio.Event()

            await asyncio.gather(write(writers, done), *(follow(client, done) for client in clients))
            for client, (viewer, chosen) in zip(clients, viewers, strict=True):
                await client.follow(cut_off=False)
                mine = chosen
                if mine is None and viewer is everyone:
                    mine = [
                        r["id"] for r in await connection.fetch("SELECT id::text FROM tradelocker_accounts")
                    ]
                elif mine is None:
                    mine = await of_user(
                        connection, accounts[0] if viewer.user_id == first_user else accounts[2]
                    )
                assert client.copy == await truth(connection, mine), f"seed {seed}, round {round_}"
    assert sum(client.resumes for client in clients) > 20
    assert sum(client.events for client in clients) > 100
