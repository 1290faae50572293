"""The guarantee: every committed row is sent once, with writers and disconnects of every kind."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from graphql_api.log_feed import BufferLimits, Feed, FeedOptions, LogFilter, TailOptions
from graphql_api.postgres.address import Address
from tests.log_feed.conftest import MakeFeed
from tests.log_feed.writers import Committed, Writer


class Client:
    """Subscribes, is cut off after some events, and resumes elsewhere, until it is stopped."""

    def __init__(self, feeds: Sequence[Feed], seed: int, most: int) -> None:
        self._feeds = feeds
        self._random = random.Random(seed)
        self._most = most
        self.messages: list[str] = []
        self.cursor: str | None = None
        self.resumes = 0

    async def begin(self) -> None:
        async with await self._feeds[0].subscribe(LogFilter()) as subscription:
            self.cursor = subscription.cursor

    async def run(self, enough: asyncio.Event, committed: Committed) -> None:
        while not (enough.is_set() and len(self.messages) >= len(committed.messages)):
            await self._once(enough, committed)

    async def _once(self, enough: asyncio.Event, committed: Committed) -> None:
        feed = self._random.choice(self._feeds)
        events = self._random.randint(1, self._most)
        async with await feed.subscribe(LogFilter(), after=self.cursor) as subscription:
            self.resumes += 1
            while events > 0:
                timeout = 0.05 if self._random.random() < 0.1 else 1.0
                batch = await subscription.batch(timeout, progress=self._random.random() < 0.1)
                taken = batch[:events]  # cut off within a batch, too
                events -= max(len(taken), 1)
                self.messages += [event.row["message"] for event in taken]
                self.cursor = subscription.cursor if len(taken) == len(batch) else taken[-1].cursor
                if enough.is_set() and len(self.messages) >= len(committed.messages):
                    return


def check(received: Sequence[str], committed: Sequence[str], seed: int) -> None:
    missing = set(committed) - set(received)
    repeated = [message for message, count in Counter(received).items() if count > 1]
    foreign = set(received) - set(committed)
    assert (missing, repeated, foreign) == (set(), [], set()), f"seed {seed}"
    newest: dict[str, int] = {}
    for message in received:  # a writer's next transaction begins after the one before has committed
        writer, transaction, _ = message.split("-")
        assert int(transaction) >= newest.get(writer, 0), f"{message} comes after {newest[writer]}"
        newest[writer] = int(transaction)


@pytest.mark.parametrize("rows", [1, 3, 20])
@pytest.mark.parametrize("kept", [4, 10_000])
async def test_random_disconnects_lose_and_repeat_nothing(
    address: Address, make_feed: MakeFeed, rows: int, kept: int
) -> None:
    options = FeedOptions(
        tail=TailOptions(page_rows=rows, idle_interval=0.05),
        buffer=BufferLimits(rows=kept),
        catch_up_rows=rows,
        heartbeat=0.01,
    )
    feeds = [make_feed(options=options) for _ in range(3)]
    seed = random.SystemRandom().getrandbits(32)
    committed, enough = Committed(), asyncio.Event()
    clients = [Client(feeds, seed + number, most=10) for number in range(3)]
    for client in clients:
        await client.begin()
    writers = [Writer(f"w{number}", address, seed + number, committed) for number in range(5)]

    async def write() -> None:
        await asyncio.gather(*(writer.run(25, two_phase=True) for writer in writers))
        enough.set()

    await asyncio.gather(write(), *(client.run(enough, committed) for client in clients))
    for client in clients:
        check(client.messages, committed.messages, seed)
