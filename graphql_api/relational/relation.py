"""Edges of the graph, declared as data: `one` row, or `many` in a connection.

    strategy: Strategy | None   = one("…", STRATEGIES, key="strategy_id")
    trades:   TradeConnection   = many("…", TRADES, by=tables.trades.c.session_id, …)

Each goes through a loader of the operation, so that aliases, fragments and siblings share one statement.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import strawberry
from sqlalchemy import Column
from strawberry.annotation import StrawberryAnnotation
from strawberry.types.arguments import StrawberryArgument

from graphql_api.execution.fields import Check, FromColumn, FromColumns, FromKey, FromLoader, declared
from graphql_api.relational.child_relation import ROOT
from graphql_api.relational.context import Batch, Context
from graphql_api.relational.eager_joins import along_of
from graphql_api.relational.entity import Entity, row_loader
from graphql_api.relational.errors import BadInputError
from graphql_api.relational.filters import Shape, Values, read_filter
from graphql_api.relational.page import DEFAULT_SIZE, MAX_SIZE, Order, Page
from graphql_api.relational.relation_loader import Children
from graphql_api.relational.scalars import parse_id


def column(description: str, *, of: str | None = None, read: Any = None) -> Any:
    """A field that is a column of its row: its own name's, or `of`; `read` converts what is not null."""
    return declared(description, FromColumn(of, read))


def computed(description: str, compute: Callable[..., Any], *, of: tuple[str, ...]) -> Any:
    """A field that is computed from columns of its row, without loading anything."""
    return declared(description, FromColumns(of, compute))


def one(description: str, to: Entity | Batch, *, key: str) -> Any:
    """An edge to at most one row: the entity's, or the batch's, for what the row's column `key` holds."""

    def prepare(context: Context, _arguments: Mapping[str, Any]) -> Any:
        return row_loader(context, to) if isinstance(to, Entity) else context.loaders.of(to).load

    leads_to = to if isinstance(to, Entity) else None
    return declared(description, FromKey(itemgetter(key), prepare, key, leads_to))


def root_one(description: str, entity: Entity, *, check: Check) -> Any:
    """A root field that finds one row by its id; another tenant's reads as one that doesn't exist."""

    def prepare(context: Context, arguments: Mapping[str, Any]) -> Any:
        id_ = parse_id(arguments["id"], "id")
        load = row_loader(context, entity)
        return lambda _: load(id_)

    id_argument = argument("id", strawberry.ID, f"The UUID of the {entity.name}.", required=True)
    return declared(description, FromLoader(prepare), arguments=[id_argument], check=check)


@dataclass(frozen=True, eq=False, slots=True)
class Listing:
    """How lists of an entity can be asked for: by which filter, in which orders."""

    entity: Entity
    default: Order
    filter: Any
    orders: Mapping[Any, Column[Any]] | None = None
    """What each value of the order input's `field` stands for; None where the order is fixed."""
    order: Any = None
    """The order input type, of `field` and `direction`."""
    read: Callable[[Any], tuple[Shape, Values]] = read_filter
    """Splits the filter input into its shape and its values."""

    def arguments(self) -> list[StrawberryArgument]:
        """The arguments of a field that serves such a list."""
        arguments = [
            argument("first", int, f"The first N rows, 1 to {MAX_SIZE}; {DEFAULT_SIZE} unless told."),
            argument("after", str, "Only rows after this cursor."),
            argument("last", int, f"The last N rows, 1 to {MAX_SIZE}, instead of the first."),
            argument("before", str, "Only rows before this cursor."),
            argument("filter", self.filter, "Only rows that fit; all conditions given must hold."),
        ]
        if self.order is not None:
            arguments.append(argument("order_by", self.order, "The order; ties are broken by id."))
        return arguments

    def page(self, context: Context, arguments: Mapping[str, Any]) -> Page:
        """The page that these arguments ask for. Raises BadInputError."""
        order, wanted = self.default, arguments.get("order_by")
        if wanted is not None and self.orders is not None:
            order = Order(self.orders[wanted.field], wanted.direction.value == "DESC")
        read = context.reads.of(self.entity.name)
        return Page.read(arguments, order, *self.read(arguments.get("filter")), read)


def many(description: str, listing: Listing, *, of: Entity, by: Column[Any]) -> Any:
    """An edge to the rows of `listing` below a row of `of`, whose id stands in column `by`."""
    children = Children(listing.entity, of, by)

    def prepare(context: Context, arguments: Mapping[str, Any]) -> Any:
        return context.loaders.of(children.page, listing.page(context, arguments)).load

    return declared(description, FromKey(itemgetter("id"), prepare, "id"), arguments=listing.arguments())


def root_many(description: str, listing: Listing, *, check: Check) -> Any:
    """A root field that lists every row the viewer may see."""
    children = Children(listing.entity)

    def prepare(context: Context, arguments: Mapping[str, Any]) -> Any:
        # Only here: below many parents a page would have the same rows with it again and again.
        page = replace(
            listing.page(context, arguments),
            along=along_of(context.reads, listing.entity),
            counted=context.reads.always(f"{listing.entity.name}Connection", "totalCount"),
        )
        load = context.loaders.of(children.page, page).load
        return lambda _: load(ROOT)

    return declared(description, FromLoader(prepare), arguments=listing.arguments(), check=check)


def root_rows(description: str, batch: Batch, *, most: int, check: Check) -> Any:
    """A root field that lists the first rows that `batch` has for ROOT, without pages: at most `most`.

    The batch gets their number as its page.
    """

    def prepare(context: Context, arguments: Mapping[str, Any]) -> Any:
        first = most if arguments.get("first") is None else arguments["first"]
        if not 1 <= first <= most:
            raise BadInputError("first", f"must be between 1 and {most}")
        return lambda _: context.loaders.of(batch, first).load(ROOT)

    first = argument("first", int, f"How many rows at most, 1 to {most}.", default=most)
    return declared(description, FromLoader(prepare), arguments=[first], check=check)


def argument(
    name: str, type_: Any, description: str, *, required: bool = False, default: Any = strawberry.UNSET
) -> StrawberryArgument:
    """An argument of a declared field. One that isn't required may be null; one with a default, left out."""
    return StrawberryArgument(
        python_name=name,
        graphql_name=None,
        type_annotation=StrawberryAnnotation(type_ if required else type_ | None),
        description=description,
        **({} if required and default is strawberry.UNSET else {"default": default}),
    )
