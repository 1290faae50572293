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
        """Returns the prices of every instrument, by symbol."""
        return quotes(self.seed, self.first, self.last)


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """The runs of one account's bot, and how many trades each is to have."""

    part: str
    """A part of the random seed: another one draws other trades."""
    runs: Sequence[Run]
    counts: Sequence[int]
    market: Market


async def drawn(
    plans: Sequence[AccountPlan], count: int, sessions: list[Session], progress: Progress
) -> AsyncGenerator[bytes, None]:
    """Yields the trades of all plans, `count` of them, as CSV with the fields of Trade.

    The same plans give the same bytes, however many processes draw them. No more than a few accounts'
    trades are in memory at once. Appends the sessions of the trades to `sessions`.
    """
    loop = asyncio.get_running_loop()
    remaining = iter(plans)
    drawing: deque[asyncio.Future[tuple[bytes, list[Session]]]] = deque()
    processes = os.cpu_count() or 1
    done = 0
    progress("trades", done, count)
    # Not forked, since a forked process would have a copy of the running event loop. Only this process
    # handles an interrupt.
    with ProcessPoolExecutor(
        processes,
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    ) as pool:

        def begin(plans: int) -> None:
            drawing.extend(loop.run_in_executor(pool, _draw, plan) for plan in islice(remaining, plans))

        begin(2 * processes)
        while drawing:
            rows, traded = await drawing.popleft()
            begin(1)
            yield rows
            sessions += traded
            done += sum(session.trades_count for session in traded)
            progress("trades", done, count)


def _draw(plan: AccountPlan) -> tuple[bytes, list[Session]]:
    rng = chance(plan.market.seed, plan.part)
    sessions: list[Session] = []
    text = io.StringIO()
    writer = csv.writer(text)
    for traded in history(rng, plan.runs, plan.counts, plan.market.series(), risk=_RISK):
        sessions.append(traded.session)
        writer.writerows(traded.trades)
    return text.getvalue().encode(), sessions
