"""Millions of trades for COPY: drawn account by account in processes of their own, and sent as they come."""

import asyncio
import csv
import io
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from multiprocessing import get_context

from graphql_api.dev.demo.bulk import Progress
from graphql_api.dev.demo.market import Series, quotes
from graphql_api.dev.demo.rows import Session, chance
from graphql_api.dev.demo.sessions import Run
from graphql_api.dev.demo.trades import history

_RISK = 400  # millionths of the balance in a trade, a tenth of the desk's: there are so many more trades


@dataclass(frozen=True, slots=True)
class Market:
    """The prices of a seed between two moments."""

    seed: int
    first: int
    last: int

    @cache  # noqa: B019 - a few of them, and drawn once in each process
    def series(self) -> Mapping[str, Series]:
        """By symbol."""
        return quotes(self.seed, self.first, self.last)


@dataclass(frozen=True, slots=True)
class Life:
    """An account to be played: its runs, and how many trades each has."""

    part: str
    """Of the seed: another one draws other trades."""
    runs: Sequence[Run]
    counts: Sequence[int]
    market: Market


async def drawn(
    lives: Sequence[Life], count: int, sessions: list[Session], progress: Progress
) -> AsyncGenerator[bytes, None]:
    """The trades of all lives, `count` together, as CSV with the fields of Trade; `sessions` get theirs.

    The same lives give the same bytes, however many processes draw them. No more than a few accounts'
    trades are in memory at once.
    """
    loop = asyncio.get_running_loop()
    remaining = iter(lives)
    drawing: deque[asyncio.Future[tuple[bytes, list[Session]]]] = deque()
    processes = os.cpu_count() or 1
    done = 0
    progress("trades", done, count)
    # Not forked: a copy of a process with an event loop in it is a trap. An interrupt is for this one.
    with ProcessPoolExecutor(
        processes,
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    ) as pool:

        def begin(lives: int) -> None:
            drawing.extend(loop.run_in_executor(pool, _draw, life) for life in islice(remaining, lives))

        begin(2 * processes)
        while drawing:
            rows, played = await drawing.popleft()
            begin(1)
            yield rows
            sessions += played
            done += sum(session.trades_count for session in played)
            progress("trades", done, count)


def _draw(life: Life) -> tuple[bytes, list[Session]]:
    rng = chance(life.market.seed, life.part)
    sessions: list[Session] = []
    text = io.StringIO()
    writer = csv.writer(text)
    for played in history(rng, life.runs, life.counts, life.market.series(), risk=_RISK):
        sessions.append(played.session)
        writer.writerows(played.trades)
    return text.getvalue().encode(), sessions
