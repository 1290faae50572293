"""Ask both databases in turn, so that other work on the machine affects both alike."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.postgres import Server as Postgres
from benchmarks.scale.data import prepare
from benchmarks.scale.graph import Cost, Graph, Plan, Question, opened
from benchmarks.scale.lists import Listed, Ordered, lists, pages
from benchmarks.scale.statistics import Counted, statistics
from benchmarks.scale.subjects import subjects
from graphql_api.dev.demo.load import TRADES


@dataclass(frozen=True, slots=True)
class Turns:
    """How often each question is asked: until it took so many seconds, but within these bounds."""

    least: int = 3
    most: int = 25
    seconds: float = 2.0
    before: int = 29
    """Pages before the deep one."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A question's turns at one database, and the plans of its statements."""

    costs: Sequence[Cost]
    plans: Sequence[Plan]

    @property
    def cpu(self) -> float:
        """The median, in seconds."""
        return median(cost.cpu for cost in self.costs)

    @property
    def pages(self) -> int:
        """Pages of 8 kB that its statements looked at."""
        return sum(plan.pages for plan in self.plans)


@dataclass(frozen=True, slots=True)
class Compared:
    """The same question at both sizes."""

    small: Answered
    large: Answered

    @property
    def ratio(self) -> float:
        """Returns how much more the question costs at the larger size: the median over the turns."""
        turns = zip(self.large.costs, self.small.costs, strict=True)
        return median(large.cpu / small.cpu for large, small in turns)


@dataclass(frozen=True, slots=True)
class Summed:
    """Statistics at both sizes, and of how many trades they are."""

    compared: Compared
    few: int
    many: int


InOrders = Mapping[Ordered, Compared]


@dataclass(frozen=True, slots=True)
class Measured:
    """What both databases answered."""

    sizes: tuple[int, int]
    """Their trades."""
    lists: Mapping[Listed, InOrders]
    statistics: Mapping[Counted, Summed]


async def measure(postgres: Postgres, sizes: tuple[int, int], turns: Turns, sample: int = TRADES) -> Measured:
    """Ask everything of two databases with so many trades, `sample` of which are the demo's."""
    addresses = [await prepare(postgres, size, sample) for size in sizes]
    async with opened(addresses[0]) as small, opened(addresses[1]) as large:
        about = await subjects(small), await subjects(large)
        pair = _Pair(small, large, turns)
        return Measured(
            sizes,
            await pair.lists(lists(about[0]), lists(about[1])),
            await pair.statistics(await statistics(small, about[0]), await statistics(large, about[1])),
        )


@dataclass(frozen=True, slots=True)
class _Pair:
    small: Graph
    large: Graph
    turns: Turns

    async def lists(
        self, of_small: Mapping[Listed, Question], of_large: Mapping[Listed, Question]
    ) -> Mapping[Listed, InOrders]:
        measured = {}
        for listed, question in of_small.items():
            before = self.turns.before
            few = await pages(self.small, question, before)
            many = await pages(self.large, of_large[listed], before)
            served = [page for page in few if page in many]
            measured[listed] = {page: await self._compare(few[page], many[page]) for page in served}
            worst = max((compared.ratio for compared in measured[listed].values()), default=0.0)
            print(f"{listed.what}, for {listed.who}: at most {worst:.2f}", flush=True)
        return measured

    async def statistics(
        self,
        of_small: Mapping[Counted, tuple[Question, int]],
        of_large: Mapping[Counted, tuple[Question, int]],
    ) -> Mapping[Counted, Summed]:
        measured = {}
        for counted, (question, few) in of_small.items():
            asked_of_large, many = of_large[counted]
            compared = await self._compare(question, asked_of_large)
            measured[counted] = Summed(compared, few, many)
            print(f"{counted.of}, {counted.what}: {compared.ratio:.2f}", flush=True)
        return measured

    async def _compare(self, of_small: Question, of_large: Question) -> Compared:
        await self.small.ask(of_small)
        await self.large.ask(of_large)
        few: list[Cost] = []
        many: list[Cost] = []
        until = time.monotonic() + self.turns.seconds
        while len(few) < self.turns.most and (time.monotonic() < until or len(few) < self.turns.least):
            few.append(await self.small.cost(of_small))
            many.append(await self.large.cost(of_large))
        return Compared(
            Answered(few, await self.small.explain(of_small)),
            Answered(many, await self.large.explain(of_large)),
        )
