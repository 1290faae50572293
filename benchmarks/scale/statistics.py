"""Statistics of each kind, of the smallest account and the largest; and all kinds at once, of other lists."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.scale.graph import Graph, Question, viewer
from benchmarks.scale.subjects import Subjects

_PARTS: Mapping[str, str] = {
    "sums and averages": "tradesCount wins losses winRate netPnl profitFactor expectancy averageDuration",
    "drawdown": "maxDrawdown maxDrawdownPct",
    "equity curve": "equityCurve { time netPnl cumulativePnl equity drawdown tradesCount }",
    "by symbol": "bySymbol { symbol tradesCount netPnl winRate }",
    "by strategy": "byStrategy { strategyId tradesCount netPnl winRate }",
    "best and worst": "bestTrade { id pnl } worstTrade { id pnl }",
    "by status": "countByStatus { status count }",
    "exposure": "exposure { symbol openTrades buySize sellSize netSize entryNotional }",
}
_WHOLE = {"all of these": " ".join(_PARTS.values())}


@dataclass(frozen=True, slots=True)
class Counted:
    """A kind of statistics, and which trades'."""

    of: str
    what: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A field with `stats` and `totalCount` below it."""

    query: str
    """With `{}` for what is selected of it."""
    viewer: str
    id: str | None = None

    def question(self, selection: str) -> Question:
        head, variables = ("", {}) if self.id is None else ("query ($id: ID!) ", {"id": self.id})
        return Question(head + self.query.replace("{}", selection), variables, viewer(self.viewer))


async def statistics(graph: Graph, about: Subjects) -> Mapping[Counted, tuple[Question, int]]:
    """Each kind of each, with the number of trades that it adds up."""
    account = "{ account(id: $id) { trades { {} } } }"
    accounts = {
        "the smallest account": _Place(account, about.smallest.owner, about.smallest.id),
        "the largest account": _Place(account, about.largest.owner, about.largest.id),
    }
    others = {
        "a session": _Place("{ session(id: $id) { trades { {} } } }", about.trader, about.session),
        "a trader's part of a strategy": _Place(
            "{ strategy(id: $id) { trades { {} } } }", about.trader, about.strategy
        ),
        "all of a trader": _Place("{ trades { {} } }", about.trader),
        "a trader's in EURUSD": _Place(
            '{ trades(filter: { symbol: { eq: "EURUSD" } }) { {} } }', about.trader
        ),
    }
    questions = {}
    for of, place in {**accounts, **others}.items():
        trades = _count(await graph.ask(place.question("totalCount")))
        for what, selection in ({**_PARTS, **_WHOLE} if of in accounts else _WHOLE).items():
            questions[Counted(of, what)] = (place.question(f"stats {{ {selection} }}"), trades)
    return questions


def _count(data: object) -> int:
    """The one number in an answer, however deep."""
    while isinstance(data, dict):
        (data,) = data.values()
    assert isinstance(data, int)
    return data
