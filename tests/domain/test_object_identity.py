"""Objects of one type and id are one object: Apollo, urql and Relay keep one of each in their caches."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import asyncpg
import orjson
import pytest

from tests.graph import Graph, operator
from tests.security.tenants import Tenant
from tests.security.walk import ask_all, every_path, unlimited

Object = dict[str, Any]

# What `node` finds by the id of a type that is no Node itself.
SHOWN_AS = {"ActiveStrategyPerformance": "StrategyPerformance"}


@pytest.fixture
async def answers(graph: Graph, connection: "asyncpg.Connection") -> list[Any]:
    """All that an operator sees of two tenants with two rows of most types, by every path."""
    ids = await Tenant.insert_pair(connection)
    asked = Graph(graph.services, operations=unlimited()).as_(operator())
    found = [orjson.loads(text) for text in (await ask_all(asked, list(every_path(2, ids)))).values()]
    assert not [answer for answer in found if "errors" in answer]
    return [answer["data"] for answer in found]


def lists_in(value: Any) -> Iterator[list[Any]]:
    """Every list within a value."""
    if isinstance(value, list):
        yield value
        for item in value:
            yield from lists_in(item)
    elif isinstance(value, dict):
        for part in value.values():
            yield from lists_in(part)


def objects_in(value: Any) -> Iterator[Object]:
    """Every object with an id within a value."""
    if isinstance(value, dict):
        if "id" in value:
            yield value
        for part in value.values():
            yield from objects_in(part)
    elif isinstance(value, list):
        for item in value:
            yield from objects_in(item)


def identity(item: Object) -> tuple[str, str]:
    return item["__typename"], item["id"]


async def test_no_list_has_an_object_twice(answers: list[Any]) -> None:
    for answer in answers:
        for each in lists_in(answer):
            identities = [identity(item) for item in each if isinstance(item, dict) and "id" in item]
            assert len(identities) == len(set(identities))


async def test_an_object_is_the_same_wherever_it_is_met(answers: list[Any]) -> None:
    seen: dict[tuple[str, str], Object] = defaultdict(dict)
    for item in objects_in(answers):
        leaves = {name: value for name, value in item.items() if not isinstance(value, dict | list)}
        known = seen[identity(item)]
        assert {name: known.get(name, value) for name, value in leaves.items()} == leaves
        known.update(leaves)

    assert {"Account", "Trade", "ActiveStrategyPerformance"} <= {type_ for type_, _ in seen}


async def test_an_id_is_the_objects_own(graph: Graph, answers: list[Any]) -> None:
    found = sorted({identity(item) for item in objects_in(answers)})
    types = []
    for _, id_ in found:
        answer = await graph.as_(operator()).ask(
            "query ($id: ID!) { node(id: $id) { __typename id } }", {"id": id_}
        )
        assert answer.data["node"]["id"] == id_
        types.append(answer.data["node"]["__typename"])

    assert types == [SHOWN_AS.get(type_, type_) for type_, _ in found]
