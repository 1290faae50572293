"""Slow conversions of a value are made once, and no response is larger than the limit."""

from pathlib import Path
from unittest.mock import Mock

import asyncpg
import pytest

from graphql_api.postgres.address import Address
from tests import factories
from tests.graph import Graph, opened, operator, settings_for

ALIASES = " ".join(f"a{number}: parameters" for number in range(25))
DURATIONS = " ".join(f"a{number}: duration" for number in range(25))


@pytest.mark.usefixtures("compiled")
async def test_stored_json_is_read_once_for_all_rows_aliases_and_places(
    graph: Graph, connection: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    for parameters in ('{"secret": 1}', '{"secret": 1}', '{"secret": 2}'):
        await factories.strategy(connection, parameters=parameters)
    read = Mock(side_effect=str)
    monkeypatch.setattr("graphql_api.relational.scalars.client_json", read)
    again = "again: strategies { edges { node { parameters } } }"
    answer = await graph.as_(operator()).ask(f"{{ strategies {{ nodes {{ {ALIASES} }} }} {again} }}")

    assert len(answer.data["strategies"]["nodes"]) == 3
    assert len(answer.data["strategies"]["nodes"][0]) == 25
    assert read.call_count == 2


@pytest.mark.usefixtures("compiled")
async def test_what_aliases_compute_is_computed_once(
    graph: Graph, connection: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await factories.session(connection, None)
    await factories.trade(connection, session, exit_time=factories.NOW)
    read = Mock(side_effect=lambda timestamp: timestamp)
    monkeypatch.setattr("graphql_api.domain.durations.rfc3339", read)
    answer = await graph.as_(operator()).ask(f"{{ trades {{ nodes {{ {DURATIONS} }} }} }}")

    assert len(set(answer.data["trades"]["nodes"][0].values())) == 1
    assert read.call_count == 2


@pytest.mark.parametrize("engine", ["compiled", "stock"])
async def test_a_response_beyond_the_limit_is_refused(
    address: Address, tmp_path: Path, connection: "asyncpg.Connection", engine: str
) -> None:
    await factories.strategy(connection, description="x" * 1_000)
    settings = settings_for(address, tmp_path, engine=engine, max_response_size=10_000)
    async with opened(settings) as graph:
        aliases = "".join(f" a{number}: description" for number in range(12))
        few = await graph.as_(operator()).ask("{ strategies { nodes { description } } }")
        many = await graph.as_(operator()).ask(f"{{ strategies {{ nodes {{ {aliases} }} }} }}")

    assert few.data["strategies"]["nodes"][0]["description"] == "x" * 1_000
    assert many.body["data"] is None
    assert many.error["message"] == "bytes of the response: more than the limit of 10000"
    assert many.error["extensions"]["code"] == "LIMIT_EXCEEDED"
