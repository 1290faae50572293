"""Types whose fields are declared in all possible ways, over values that are often wrong."""

# Its resolvers lie about their types, on purpose.
# mypy: disable-error-code="no-any-return,return-value,misc,assignment,arg-type,valid-type,list-item"

from typing import Annotated, Any

import strawberry
from strawberry.annotation import StrawberryAnnotation
from strawberry.types.arguments import StrawberryArgument

from graphql_api.execution.fields import (
    FromColumn,
    FromColumns,
    FromKey,
    FromLoader,
    FromParent,
    declared,
    is_any_source,
)
from tests.execution.faulty_values import (
    Context,
    Kind,
    Money,
    add,
    add_all,
    answer,
    children,
    compute_flags,
    compute_label,
    compute_matrix,
    dice,
    in_some_shape,
    load_elder,
    load_elders,
    load_lines,
    load_rock,
    load_rocks,
    read_kind,
    refuse,
    row,
)

Info = strawberry.Info[Context, None]


def load_things(context: Context, _arguments: Any) -> Any:
    def load(parent: Any) -> Any:
        id_ = parent["id"]
        things = [row(child) if dice(child, 2) else make_beast(child) for child in children(id_, 3)]
        return answer(context, id_, things)

    return load


@strawberry.interface
class Thing:
    id: strawberry.ID = declared("", FromColumn(None))
    name: str | None = declared("", FromColumn(None))

    @classmethod
    def resolve_type(cls, value: Any, info: Any, _abstract: Any) -> Any:
        if not isinstance(value, dict):
            return type(value).__name__ if isinstance(value, Beast) else default_name(value)
        name = value["__typename"]
        if info.context.later and not dice(value["id"] or "t", 3):
            return answer(info.context, value["id"] or "t", name)
        return name


def default_name(value: Any) -> str:
    raise TypeError(f"{type(value).__name__} is no thing")


argument_first = StrawberryArgument(
    python_name="first", graphql_name=None, type_annotation=StrawberryAnnotation(int | None), default=2
)


@strawberry.type
class Rock(Thing):
    """A type with declared fields only, which are read from rows."""

    is_type_of = staticmethod(is_any_source)

    title: str = declared("", FromColumn("name"))
    number: int | None = declared("", FromColumn(None))
    strict_number: int = declared("", FromColumn("number"))
    ratio: float | None = declared("", FromColumn(None))
    kind: Kind | None = declared("", FromColumn(None, read_kind))
    strict_kind: Kind = declared("", FromColumn("kind", read_kind))
    price: Money | None = declared("", FromColumn(None))
    strict_price: Money = declared("", FromColumn("price"))
    flag: bool | None = declared("", FromColumn(None))
    sum: int | None = declared("", FromColumns(("number", "flag"), add, add_all))
    strict_sum: int = declared("", FromColumns(("number", "flag"), add))
    label: str | None = declared("", FromParent(compute_label))
    strict_label: str = declared("", FromParent(compute_label))
    flags: list[bool | None] | None = declared("", FromParent(compute_flags))
    strict_flags: list[bool] = declared("", FromParent(compute_flags))
    matrix: list[list[int] | None] | None = declared("", FromParent(compute_matrix))
    strict_matrix: list[list[int]] = declared("", FromParent(compute_matrix))
    itself: "Rock" = declared("", FromParent(lambda parent: parent))
    guarded: str | None = declared("", FromColumn("name"), check=refuse)
    lines: list["Rock | None"] | None = declared("", FromLoader(load_lines))
    strict_lines: list["Rock"] = declared("", FromLoader(load_lines))
    elder: "Rock | None" = declared("", FromKey("clan", load_elder))
    strict_elder: "Rock" = declared("", FromKey("clan", load_elder))
    elders: list["Rock | None"] | None = declared("", FromKey("clan", load_elders))
    above: "Rock | None" = declared("", FromLoader(load_rock))
    strict_above: "Rock" = declared("", FromLoader(load_rock))
    rocks: list["Rock | None"] | None = declared("", FromLoader(load_rocks), arguments=[argument_first])
    strict_rocks: list["Rock"] = declared(
        "", FromLoader(load_rocks), arguments=[argument_first], check=refuse
    )
    things: list[Thing | None] = declared("", FromLoader(load_things))
    strict_things: list[Thing] | None = declared("", FromLoader(load_things))


@strawberry.type
class Pebble(Thing):
    """A type in which a field has another type than the same field of Rock."""

    is_type_of = staticmethod(is_any_source)

    number: str | None = declared("", FromColumn("number"))
    thing: Thing | None = declared("", FromParent(lambda parent: parent))


@strawberry.input
class Wish:
    text: str = "none"
    kind: Kind | None = None
    numbers: list[int] | None = None


Either = Annotated["Rock | Beast", strawberry.union("Either")]


@strawberry.type
class Beast(Thing):
    """An ordinary Strawberry type, with attributes and resolvers."""

    id: strawberry.ID
    name: str | None
    legs: int = 4
    sound: str = strawberry.field(default=None)
    mood: Kind | None = None

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    @strawberry.field
    def greeting(self, info: Info, wish: Wish | None = None, loud: bool = False, times: int = 1) -> str:
        text = f"{self.name}: {wish} {wish and wish.kind} {loud} {times}"
        return answer(info.context, self.id, text if dice(self.id, 4) else ValueError(f"{self.id} is mute"))

    @strawberry.field
    def path(self, info: Info) -> str | None:
        return answer(info.context, self.id, f"{info.path.as_list()} {info.path.typename} {info.field_name}")

    @strawberry.field
    def echo(self, info: Info, words: list[str | None] | None = None, kind: Kind = Kind.SOFT) -> list[str]:
        return answer(info.context, self.id, [*(words or []), kind.name])

    @strawberry.field
    def friend(self, info: Info) -> "Beast | None":
        beast = make_beast(f"{self.id}'")
        return answer(
            info.context, self.id, (beast, None, ValueError(self.id), row(self.id))[dice(self.id, 4)]
        )

    @strawberry.field
    def strict_friend(self, info: Info) -> "Beast":
        beast = make_beast(f"{self.id}'")
        return answer(info.context, self.id, (beast, beast, None, ValueError(self.id))[dice(self.id, 4)])

    @strawberry.field
    def friends(self, info: Info) -> list["Beast"]:
        return answer(info.context, self.id, many(info.context, self.id, broken=True))

    @strawberry.field
    def loose_friends(self, info: Info) -> list["Beast | None"] | None:
        return answer(info.context, self.id, many(info.context, self.id, broken=True))

    @strawberry.field
    def things(self, info: Info) -> list[Thing | None]:
        return answer(info.context, self.id, many(info.context, self.id, broken=False))

    @strawberry.field
    def either(self, info: Info) -> Either | None:
        value = (make_beast(f"{self.id}|"), row(f"{self.id}|"), None, 5, "text")[dice(self.id, 5)]
        return answer(info.context, self.id, value)

    @strawberry.field
    def eithers(self, info: Info) -> list[Either]:
        return answer(info.context, self.id, many(info.context, self.id, broken=False))


def make_beast(id_: str) -> Beast:
    return Beast(
        id=strawberry.ID(id_),
        name=f"beast {id_}" if dice(id_, 5) else None,
        legs=(4, 2, None, "many", object())[dice(id_, 5)],
        sound=("roar", "hiss", None)[dice(id_, 3)],
        mood=(Kind.HARD, Kind.SOFT, None, "hard", "awful")[dice(id_, 5)],
    )


def many(context: Context, id_: str, *, broken: bool) -> Any:
    """Returns several values as one of the types that executors accept for a list."""
    values: list[Any] = [make_beast(child) for child in children(id_, dice(id_, 4))]
    if dice(id_, 3):
        values.append(row(f"{id_}.r"))
    if not dice(id_, 5):
        values.append(ValueError(f"an item of {id_}"))
    if not dice(id_, 6):
        values.append(None)
    return in_some_shape(context, id_, values, broken=broken)
