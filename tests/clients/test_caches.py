"""Normalising caches: every list has the same rows as without a cache, also after other reads."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest
from graphql import GraphQLObjectType, get_named_type, is_list_type, is_non_null_type

from graphql_api.schema import schema
from tests.clients.page import FOLDER, ROOT, modules, prepared_node
from tests.graph import Graph, operator
from tests.security.tenants import Tenant
from tests.security.walk import every_path, unlimited

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CLIENTS = ("apollo", "urql", "relay")


@pytest.fixture
async def questions(graph: Graph, connection: "asyncpg.Connection") -> list[dict[str, Any]]:
    """Every path through the schema as an operator's query, with its answer."""
    ids = await Tenant.insert_pair(connection)
    asked = Graph(graph.services, operations=unlimited()).as_(operator())
    found = []
    for question in every_path(1, ids):
        text = question.text.replace("{ ... on", "{ __typename id ... on")  # as clients add it
        body = orjson.loads(orjson.dumps((await asked.ask(text, question.variables)).body))
        assert "errors" not in body
        found.append(
            {
                "name": question.name,
                "text": text,
                "variables": dict(question.variables),
                "data": body["data"],
            }
        )
    return found


@pytest.mark.parametrize("client", CLIENTS)
async def test_every_list_shows_what_it_showed_before(
    questions: list[dict[str, Any]], client: str, tmp_path: Path
) -> None:
    node = prepared_node()
    artifacts = compiled(questions, tmp_path) if client == "relay" else tmp_path
    file = tmp_path / "questions.json"
    file.write_text(json.dumps(questions))
    result = subprocess.run(
        [node, "caches.mjs", client, str(file), str(ROOT / "schema.graphql"), str(artifacts)],
        cwd=FOLDER,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    assert seen["asked"] == len(questions) > 30
    assert seen["differing"] == []
    assert seen["complaints"] == []


def compiled(questions: list[dict[str, Any]], folder: Path) -> Path:
    """The folder of what Relay's compiler makes of the questions."""
    source, artifacts = folder / "src", folder / "artifacts"
    source.mkdir()
    artifacts.mkdir()
    (artifacts / "package.json").write_text('{"type": "module"}')
    for number, question in enumerate(questions):
        named = re.sub(r"^(query )?", f"query q{number}Query ", question["text"], count=1)
        (source / f"q{number}.js").write_text(f"graphql`{named}`;\n")
    (folder / "schema.graphql").write_text((ROOT / "schema.graphql").read_text())
    (folder / "relay.config.json").write_text(
        json.dumps(
            {
                "src": "./src",
                "schema": "./schema.graphql",
                "language": "javascript",
                "artifactDirectory": "./artifacts",
                "eagerEsModules": True,
            }
        )
    )
    compiler = FOLDER / "node_modules" / "relay-compiler" / "linux-x64" / "relay"
    if not compiler.exists():
        pytest.skip("Relay's compiler is tried on 64-bit Linux only")
    compiler.chmod(0o755)
    result = subprocess.run([str(compiler)], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return artifacts


def object_types() -> dict[str, GraphQLObjectType]:
    return {
        name: type_
        for name, type_ in schema._schema.type_map.items()
        if isinstance(type_, GraphQLObjectType)
        and not name.startswith("__")
        and name not in ("Query", "Mutation", "Subscription")
    }


def has_own_id(type_: GraphQLObjectType) -> bool:
    """Whether objects of a type are known by their id. An id that may be null is that of something else."""
    return "id" in type_.fields and is_non_null_type(type_.fields["id"].type)


def test_urqls_keys_name_every_type_without_an_id() -> None:
    without = {name for name, type_ in object_types().items() if not has_own_id(type_)} - {"Viewer"}
    listed = re.search(r"const keyless = \[(.*?)\];", modules()["urql.js"], re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"'(\w+)'", listed[1])) == without


def test_apollo_merges_every_object_without_an_id_that_is_read_again() -> None:
    """Those of lists are replaced with their list, and payloads come once."""
    types = object_types()
    single = {
        get_named_type(field.type).name
        for owner in (*types.values(), schema._schema.query_type)
        if owner is not None
        for field in owner.fields.values()
        if not is_list_type(getattr(field.type, "of_type", field.type)) and not is_list_type(field.type)
    }
    passing = ("Payload", "Event", "Activity", "Change")
    wanted = {
        name
        for name, type_ in types.items()
        if name in single and not has_own_id(type_) and not name.endswith(passing)
    }
    listed = re.search(r"const merged = \[(.*?)\];", modules()["apollo.js"], re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"'(\w+)'", listed[1])) == wanted - {"Viewer"}


def test_possible_types_are_those_of_the_schema() -> None:
    node = schema._schema.type_map["Node"]
    possible = {type_.name for type_ in schema._schema.get_possible_types(node)}  # type: ignore[arg-type]
    listed = re.search(r"Node: \[(.*?)\]", modules()["apollo.js"], re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"'(\w+)'", listed[1])) == possible
