"""A schema in which as many kinds of errors as possible occur."""

# Its resolvers lie about their types, on purpose.
# mypy: disable-error-code="no-any-return,return-value,misc,assignment,arg-type,valid-type,list-item"

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import strawberry
from strawberry.schema.config import StrawberryConfig

from graphql_api.execution.fields import FromLoader, FromParent, declared, resolved
from tests.execution.faulty_types import Beast, Info, Pebble, Rock, Thing, Wish, make_beast
from tests.execution.faulty_values import Context, Money, answer, refuse, row, serialize_money


def load_the_things(context: Context, _arguments: Any) -> Any:
    things = [row("x"), make_beast("y"), row("z"), row("u"), make_beast("v")]
    return lambda _: answer(context, "ts", things)


@strawberry.type
class Query:
    @strawberry.field
    def rock(self, key: strawberry.ID = "r") -> Rock | None:
        return row(key)

    @strawberry.field
    def beast(self, info: Info, key: strawberry.ID = "b") -> Beast:
        return answer(info.context, key, make_beast(key))

    @strawberry.field
    def beasts(self, info: Info, ids: list[strawberry.ID]) -> list[Beast | None]:
        return answer(info.context, "beasts", [make_beast(id_) for id_ in ids[:3]])

    @strawberry.field
    def rocks(self, ids: list[strawberry.ID | None] | None = None) -> list[Rock]:
        return [row(id_) if id_ else None for id_ in (ids or ["p", "q"])[:3]]

    thing: Thing | None = declared("", FromParent(lambda _: row("t")))
    things: list[Thing] = declared("", FromLoader(load_the_things))

    @resolved("", check=refuse)
    def guarded(self, info: Info, times: int = 1) -> str:
        return answer(info.context, f"g{times}", f"guarded {times}")

    @strawberry.field
    def nothing(self) -> int:
        return None


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def write(self, info: Info, text: str = "w", fail: bool = False) -> str:
        info.context.log.append(f"begin {text}")
        await asyncio.sleep(0)
        info.context.log.append(f"end {text}")
        if fail:
            raise ValueError(f"{text} failed")
        return text

    @strawberry.mutation
    def maybe(self, info: Info, text: str = "m", fail: bool = False) -> Beast | None:
        info.context.log.append(f"maybe {text}")
        return answer(info.context, text, ValueError(text) if fail else make_beast(text))

    @strawberry.mutation
    def rock(self, info: Info, wish: Wish, fail: bool = False) -> Rock:
        info.context.log.append(f"rock {wish.text} {wish.kind} {wish.numbers}")
        return None if fail else row(wish.text)


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def rocks(self, count: int = 2) -> AsyncIterator[Rock]:
        for number in range(min(count, 4)):
            yield row(f"s{number}")

    @strawberry.subscription
    async def beasts(self, count: int = 2) -> AsyncIterator[Beast | None]:
        for number in range(min(count, 4)):
            yield make_beast(f"s{number}") if number != 1 else None

    @strawberry.subscription
    async def shared(self, info: Info) -> AsyncIterator[Rock | None]:
        for events in info.context.due:
            yield events


schema = strawberry.Schema(
    Query,
    Mutation,
    Subscription,
    types=[Rock, Pebble, Beast],
    config=StrawberryConfig(
        scalar_map={
            Money: strawberry.scalar(name="Money", serialize=serialize_money, parse_value=str),
        }
    ),
)
