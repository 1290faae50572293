"""Every operation that the schema allows, by introspection: all paths from the root, without cycles."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import orjson
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

from graphql_api.execution.analysis import RequestLimits
from graphql_api.execution.operations import GraphQLRequest, Operations
from graphql_api.gateway.errors import mask
from graphql_api.relational.context import Context
from graphql_api.schema import schema
from tests.graph import Graph

_LIST_FORM = ("nodes", "pageInfo")
_SCALARS: Mapping[str, Sequence[Any]] = {
    "Boolean": (True, False),
    "DateTime": ("2026-11-01T00:00:03Z",),
    "Decimal": ("0.0005",),
}
_SCHEMA = schema._schema


@dataclass(frozen=True)
class Question:
    """A named operation and its variables."""

    name: str
    text: str
    variables: Mapping[str, Any] = field(default_factory=dict)


@cache
def unlimited() -> Operations:
    """Returns operations without limits on documents: the walk's are larger than those of clients may be.

    All tests use the same object, since parsing the documents takes most of their time.
    """
    return Operations(schema, mask=mask, limits=RequestLimits(characters=10**7, tokens=10**6))


async def ask_all(graph: Graph, questions: Sequence[Question]) -> dict[str, str]:
    """Returns the answers by the names of the questions."""
    return {
        question.name: orjson.dumps((await graph.ask(question.text, question.variables)).body).decode()
        for question in questions
    }


def every_path(depth: int, ids: Mapping[str, Sequence[str]]) -> Iterator[Question]:
    """Yields queries from each root field to everything within `depth` edges.

    Fields with an `id` argument are queried with each of the `ids` of their type. A type that occurs again on
    the same path is queried for its leaves only.
    """
    for name, definition in _fields(_SCHEMA.query_type).items():
        if name == "activityCursor":
            continue  # a moment, which is another whenever anybody writes
        type_ = get_named_type(definition.type)
        every = [each for known in ids.values() for each in known]
        if isinstance(type_, GraphQLInterfaceType):
            argument = "$ids: [ID!]!" if "ids" in definition.args else "$id: ID!"
            for concrete in _SCHEMA.get_possible_types(type_):
                below = f"{{ ... on {concrete.name} {_selection(concrete, (), 0)} }}"
                text = f"query ({argument}) {{ {name}({_pass(argument)}) {below} }}"
                if "ids" in definition.args:
                    yield Question(f"{name} {concrete.name}", text, {"ids": every})
                else:
                    yield from (
                        Question(f"{name} {concrete.name} {each}", text, {"id": each}) for each in every
                    )
            continue
        below = _selection(type_, (), depth)
        if "id" in definition.args:
            text = f"query ($id: ID!) {{ {name}(id: $id) {below} }}"
            yield from (Question(f"{name} {each}", text, {"id": each}) for each in ids[type_.name])
        else:
            yield Question(name, f"{{ {name} {below} }}")


def every_filter(values: Sequence[str], ids: Mapping[str, Sequence[str]]) -> Iterator[Question]:
    """Yields queries of each root list: with each condition of its filter, plain and negated, and each order.

    `values` are the texts to compare with.
    """
    for name, definition in _fields(_SCHEMA.query_type).items():
        if "filter" not in definition.args:
            continue
        below = _selection(get_named_type(definition.type), (), 0)
        filter_type = get_named_type(definition.args["filter"].type)
        for condition in _conditions(filter_type, values, [each for known in ids.values() for each in known]):
            text = f"query ($filter: {filter_type.name}) {{ {name}(filter: $filter) {below} }}"
            yield Question(f"{name} {orjson.dumps(condition).decode()}", text, {"filter": condition})
        if "orderBy" not in definition.args:
            continue
        order_type = get_named_type(definition.args["orderBy"].type)
        assert isinstance(order_type, GraphQLInputObjectType)
        order_field = get_named_type(order_type.fields["field"].type)
        assert isinstance(order_field, GraphQLEnumType)
        for value in order_field.values:
            yield Question(f"{name} by {value}", f"{{ {name}(orderBy: {{field: {value}}}) {below} }}")


def every_change(account: str) -> Iterator[Question]:
    """Yields each mutation that has the argument `accountId`."""
    for name, definition in _fields(_SCHEMA.mutation_type).items():
        if "accountId" not in definition.args:
            continue
        given = {"accountId": "$id"}
        if "input" in definition.args:
            given["input"] = '{maxDailyLoss: "1"}'
        arguments = ", ".join(f"{argument}: {value}" for argument, value in given.items())
        below = _selection(get_named_type(definition.type), (), 1)
        yield Question(name, f"mutation ($id: ID!) {{ {name}({arguments}) {below} }}", {"id": account})


def every_subscription(accounts: Sequence[str]) -> Iterator[Question]:
    """Yields each subscription with the argument `accountIds`: without it, and with each of `accounts`.

    They resume after the cursor $after.
    """
    for name, definition in _fields(_SCHEMA.subscription_type).items():
        if "accountIds" not in definition.args:
            continue
        for row, below in _event_selections(get_named_type(definition.type)):
            arguments = "($ids: [ID!], $after: String)"
            text = f"subscription {arguments} {{ {name}(accountIds: $ids, after: $after) {below} }}"
            for ids in (None, *([account] for account in accounts)):
                yield Question(f"{name} {row} {ids}", text, {"ids": ids})


def _event_selections(type_: GraphQLNamedType) -> Iterator[tuple[str, str]]:
    """Yields selections of an event's leaves and of one edge, for each type that an edge may lead to."""
    fields = _fields(type_)
    leaves = " ".join(name for name in fields if is_leaf_type(get_named_type(fields[name].type)))
    for name, definition in fields.items():
        below = get_named_type(definition.type)
        if isinstance(below, GraphQLInterfaceType):
            for concrete in _SCHEMA.get_possible_types(below):
                fragment = f"... on {concrete.name} {_selection(concrete, (), 1)}"
                yield concrete.name, f"{{ {leaves} {name} {{ {fragment} }} }}"
        elif not is_leaf_type(below):
            yield below.name, f"{{ {leaves} {name} {_selection(below, (), 1)} }}"


async def follow_all(
    graph: Graph, questions: Sequence[Question], after: str
) -> dict[str, list[dict[str, Any]]]:
    """Returns what each subscription sends until it is up to date, by the question's name."""
    return {each.name: [event async for event in _backlog(graph, each, after)] for each in questions}


async def _backlog(graph: Graph, question: Question, after: str) -> AsyncIterator[dict[str, Any]]:
    """Yields the events until the subscription is up to date; an error response ends them."""
    variables = {**question.variables, "after": after}
    operation = graph.operations.prepare(GraphQLRequest(question.text, None, variables))
    results = graph.subscriptions.subscribe(
        operation, lambda: Context(graph.viewer, graph.services), lambda: graph.viewer.read_access
    )
    async with aclosing(results):
        async for batch in results:
            for result in batch:
                body = orjson.loads(result.render())
                if "errors" in body:
                    yield body
                    return
                (event,) = body["data"].values()
                if event.get("upToDate") or event.get("kind") == "UP_TO_DATE":
                    return
                yield event


def _fields(type_: GraphQLNamedType | None) -> Mapping[str, Any]:
    assert isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)
    return dict(type_.fields)


def _pass(argument: str) -> str:
    name = argument.partition(":")[0]
    return f"{name[1:]}: {name}"


def _selection(type_: GraphQLNamedType, path: tuple[str, ...], depth: int) -> str:
    """Returns a selection of all leaves of a type, and of its edges as far as `depth` and `path` allow."""
    parts = ["__typename"]
    path = (*path, type_.name)
    for name, definition in _fields(type_).items():
        below = get_named_type(definition.type)
        if is_leaf_type(below):
            parts.append(name)
        elif depth >= 0:
            left = depth - (name not in _LIST_FORM)
            if below.name in path:
                left = -1
            elif name == "edges":  # their nodes are those of `nodes`
                left = 0
            parts.append(f"{name} {_selection(below, path, left)}")
    return f"{{ {' '.join(parts)} }}"


def _conditions(
    type_: GraphQLNamedType, texts: Sequence[str], ids: Sequence[str]
) -> Iterator[dict[str, Any]]:
    assert isinstance(type_, GraphQLInputObjectType)
    for name, definition in type_.fields.items():
        if get_named_type(definition.type) is not type_:
            for value in _values(definition.type, texts, ids):
                condition = {name: value}
                yield condition
                if "not" in type_.fields:
                    yield {"not": condition}


def _values(type_: GraphQLInputType, texts: Sequence[str], ids: Sequence[str]) -> Iterator[Any]:
    """Yields values of an input type to compare with: all given ids and texts, one or two of other types."""
    if is_non_null_type(type_):
        yield from _values(type_.of_type, texts, ids)
    elif is_list_type(type_):
        yield from ([value] for value in _values(type_.of_type, texts, ids))
    elif isinstance(type_, GraphQLInputObjectType):
        yield from _conditions(type_, texts, ids)
    elif isinstance(type_, GraphQLEnumType):
        yield from type_.values
    else:
        name = get_named_type(type_).name
        yield from _SCALARS.get(name) or {"ID": ids, "String": texts}[name]
