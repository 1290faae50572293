"""Pages of trades: every list that the schema has, in every order, for traders and for operators."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks.scale.data import RARE
from benchmarks.scale.graph import Graph, Question, RefusedError, viewer
from benchmarks.scale.subjects import Subjects
from graphql_api.domain.trade import TradeOrderField
from graphql_api.relational.enums import OrderDirection

_PAGE = """trades(first: 100, after: $after, orderBy: $order, filter: $filter) {
  nodes { id symbol direction entryPrice size entryTime pnl status }
  pageInfo { endCursor hasNextPage }
}"""
_HEAD = "$order: TradeOrder!, $after: String, $filter: TradeFilter"
_ALL = f"query ({_HEAD}) {{ {_PAGE} }}"


@dataclass(frozen=True, slots=True)
class Listed:
    """A list, and the user who reads it."""

    what: str
    who: str


@dataclass(frozen=True, slots=True)
class Ordered:
    """One of its pages."""

    order: str
    is_first: bool
    """Or the thirtieth; of a shorter list, the last."""


def lists(about: Subjects) -> Mapping[Listed, Question]:
    """The first page of each list, in no order yet."""

    def below(parent: str, id_: str) -> Question:
        return Question(f"query ($id: ID!, {_HEAD}) {{ {parent}(id: $id) {{ {_PAGE} }} }}", {"id": id_})

    def all_(**filter_: object) -> Question:
        return Question(_ALL, {"filter": filter_})

    questions = {
        "all": all_(),
        "an account's": below("account", about.account),
        "a session's": below("session", about.session),
        "a strategy's": below("strategy", about.strategy),
        "all, by account": all_(accountId=about.account),
        "all, by strategy": all_(strategyId=about.strategy),
        "all, by symbol and status": all_(symbol={"eq": "EURUSD"}, status=["CLOSED"]),
    }
    # A trader's have the same way through their sessions, whatever the filter; an operator's have not.
    of_all = {
        "all, by symbol": all_(symbol={"eq": "EURUSD"}),
        "all, by a rare symbol": all_(symbol={"eq": RARE}),
        "all, by direction": all_(direction=["SELL"]),
        "all that are closed": all_(status=["CLOSED"]),
        "all that are cancelled": all_(status=["CANCELLED"]),
        "all that are open": all_(status=["OPEN"]),
    }
    return {
        Listed(what, who): replace(question, viewer=viewer(about.trader, operator=who == "an operator"))
        for who, asked in (("a trader", questions), ("an operator", questions | of_all))
        for what, question in asked.items()
    }


async def pages(graph: Graph, question: Question, before: int) -> Mapping[Ordered, Question]:
    """The first page of a list and the one with so many `before` it, in each order that it is served in."""
    found = {}
    for field in TradeOrderField:
        for direction in OrderDirection:
            order = {"field": field.value, "direction": direction.value}
            first = question.with_(order=order)
            name = f"{field.value} {direction.value}"
            if not await graph.is_served(first):
                continue
            found[Ordered(name, is_first=True)] = first
            deep = first.with_(after=await _cursor(graph, first, before))
            if await graph.is_served(deep):
                found[Ordered(name, is_first=False)] = deep
    return found


async def _cursor(graph: Graph, first: Question, before: int) -> str | None:
    """The one after so many pages."""
    cursor = None
    for _ in range(before):
        try:
            data = await graph.ask(first.with_(after=cursor))
        except RefusedError:
            break
        (parent,) = data.values()
        page = parent.get("trades", parent)["pageInfo"]
        if not page["hasNextPage"]:
            break
        cursor = page["endCursor"]
    return cursor
