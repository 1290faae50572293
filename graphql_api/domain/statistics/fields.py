"""Fields of statistics: each is read from a batch, and a batch runs only if one of its fields is selected."""

from asyncio import Future
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from sqlalchemy import Column
from strawberry.types.arguments import StrawberryArgument

from graphql_api.domain.policy import TRADES
from graphql_api.domain.statistics.totals import totals
from graphql_api.domain.statistics.trade_set import Scope, TimeRange, TradeSet
from graphql_api.execution.fields import FromLoader, FromParent, declared
from graphql_api.relational.context import Batch, Context
from graphql_api.relational.entity import Entity
from graphql_api.relational.relation import argument
from graphql_api.relational.relation_loader import Children, Slice

Choose = Callable[[TradeSet, Mapping[str, Any]], Hashable]
"""From the trades and a field's arguments to what its batch is asked for. Raises BadInputError."""


def stats_of(description: str, *, of: Entity, by: Column[Any]) -> Any:
    """A field with the statistics of the trades below a row of `of`, whose id stands in column `by`."""
    trades = TradeSet(Children(TRADES, of, by))

    def prepare(_: Context, arguments: Mapping[str, Any]) -> Any:
        chosen = trades.within(arguments.get("range"))
        return lambda row: Scope(chosen, row["id"])

    within = argument("range", TimeRange, "Only trades that closed in it; those without an exit, by entry.")
    return declared(description, FromLoader(prepare), arguments=[within])


def stats_of_all(description: str, *, of: Entity, by: Column[Any]) -> Any:
    """The same, of all its trades whenever they were."""
    trades = TradeSet(Children(TRADES, of, by))
    return declared(description, FromParent(lambda row: Scope(trades, row["id"])))


def stats_of_list(description: str) -> Any:
    """A connection's field with the statistics of its whole list, whatever the page."""

    def scope(part: Slice) -> Scope:
        return Scope(TradeSet(part.children, part.page.shape, part.page.values), part.parent)

    return declared(description, FromParent(scope))


def _whole(trades: TradeSet, _: Mapping[str, Any]) -> TradeSet:
    return trades


def measured(
    description: str,
    batch: Batch,
    *,
    pick: Callable[[Any], Any] | None = None,
    choose: Choose = _whole,
    arguments: list[StrawberryArgument] | None = None,
) -> Any:
    """A field of a Scope, read by `batch`; `pick` takes the value out of what that has for the parent."""

    def prepare(context: Context, given: Mapping[str, Any]) -> Any:
        def load(scope: Scope) -> Any:
            loaded = context.loaders.of(batch, choose(scope.trades, given)).load(scope.parent)
            return loaded if pick is None else _then(loaded, pick)

        return load

    return declared(description, FromLoader(prepare), arguments=arguments)


def total(name: str, description: str, read: Callable[[Any], Any] | None = None) -> Any:
    """A field that is a column of `totals`; `read` converts what is not null."""

    def pick(row: Any) -> Any:
        value = row[name]
        return value if value is None or read is None else read(value)

    return measured(description, totals, pick=pick)


def _then(loaded: "Future[Any]", pick: Callable[[Any], Any]) -> "Future[Any]":
    """What `pick` makes of a loaded value: a future of its own, since all fields share the loader's."""
    result: Future[Any] = loaded.get_loop().create_future()

    def settle(done: "Future[Any]") -> None:
        if result.cancelled():
            return
        if done.cancelled():
            result.cancel()
        elif error := done.exception():
            result.set_exception(error)
        else:
            result.set_result(pick(done.result()))

    loaded.add_done_callback(settle)
    return result
