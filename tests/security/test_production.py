"""What only development shows: introspection, GraphiQL and suggestions of names."""

import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from graphql import build_client_schema, get_introspection_query

from graphql_api.app import create_app
from graphql_api.identity.signing_keys import SecretKeyError
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.address import Address
from tests import factories
from tests.app import App, codes, served
from tests.graph import settings_for
from tests.security.test_floods import DOCUMENTS, RESPONSE

INSIDES = re.compile(
    r"Traceback|\bFile\b|\.py\b|site-packages|asyncpg|sqlalchemy|strawberry"
    r"|SELECT |FROM |\$1|0x[0-9a-f]{6}|/\w+/\w+/"
)
"""What an error would show of us: code, its paths, SQL, objects."""

BREAK_STRATEGIES = """
ALTER TABLE ai_strategies RENAME COLUMN description TO stored;
ALTER TABLE ai_strategies RENAME TO stored_strategies;
CREATE VIEW ai_strategies AS SELECT *, (1 / (length(name) * 0))::text AS description FROM stored_strategies;
"""
"""Makes reading `description` fail as no state of a server does."""


@pytest.fixture
async def production(address: Address, tmp_path: Path) -> AsyncIterator[App]:
    async with served(address, tmp_path, profile="production") as app:
        yield app


@pytest.fixture
async def token(production: App, connection: "asyncpg.Connection") -> str:
    user = await factories.user(connection)
    return await production.token(Scope.GRAPH_READ, Scope.RISK_WRITE, user_id=user)


@pytest.mark.parametrize(
    "query",
    [
        "{ __schema { types { name } } }",
        '{ __type(name: "User") { fields { name } } }',
        "{ ...F } fragment F on Query { __schema { queryType { name } } }",
    ],
)
async def test_the_schema_is_not_told(production: App, token: str, query: str) -> None:
    answer = await production.ask(query, token=token)
    assert set(codes(answer)) == {"GRAPHQL_VALIDATION_FAILED"}
    assert "data" not in answer.json()


async def test_the_names_of_types_are_part_of_answers_all_the_same(production: App, token: str) -> None:
    answer = await production.ask("{ __typename viewer { __typename } }", token=token)
    assert answer.json() == {"data": {"__typename": "Query", "viewer": {"__typename": "Viewer"}}}


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{ viewr { roles } }", {}),
        ("{ viewer { role } }", {}),
        ("{ users(frst: 1) { totalCount } }", {}),
        ("{ users(filter: {mail: {}}) { totalCount } }", {}),
        ("{ trades(orderBy: {field: PNLL}) { totalCount } }", {}),
        ("query ($f: UserFiler) { users(filter: $f) { totalCount } }", {}),
        ("{ viewer { user { ... on Usr { id } } } }", {}),
        ("query ($f: UserFilter) { users(filter: $f) { totalCount } }", {"f": {"emal": {}}}),
        ("query ($o: TradeOrder) { trades(orderBy: $o) { totalCount } }", {"o": {"field": "PNLL"}}),
        ("{ viewer { roles @skp(if: true) } }", {}),
    ],
)
async def test_nothing_is_suggested(
    production: App, token: str, query: str, variables: dict[str, Any]
) -> None:
    answer = await production.ask(query, variables, token=token)
    assert answer.json()["errors"]
    assert "Did you mean" not in answer.text


@pytest.mark.parametrize("accept", ["text/html", "application/json", RESPONSE])
async def test_get_is_off_and_there_is_no_page(production: App, accept: str) -> None:
    parameters = {"query": "{ __typename }"}
    answer = await production.client.get("/graphql", params=parameters, headers={"accept": accept})
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert "html" not in answer.headers["content-type"]


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/openapi.json", "/graphiql"])
async def test_there_is_nothing_else_to_look_at(production: App, path: str) -> None:
    assert (await production.client.get(path)).status_code == 404


def test_it_does_not_start_without_a_secret(address: Address, tmp_path: Path) -> None:
    settings = settings_for(address, tmp_path, profile="production")
    with pytest.raises(SecretKeyError):
        create_app(settings.model_copy(update={"secret_key": None}))


async def test_a_failure_is_told_by_an_id_that_the_log_has(
    production: App,
    token: str,
    connection: "asyncpg.Connection",
    caplog: pytest.LogCaptureFixture,
) -> None:
    await factories.strategy(connection)
    await connection.execute(BREAK_STRATEGIES)
    with caplog.at_level(logging.ERROR):
        answer = await production.ask("{ strategies { nodes { description } } }", token=token)

    (error,) = answer.json()["errors"]
    incident = error["extensions"].pop("incident")
    assert error["extensions"] == {"code": "INTERNAL_SERVER_ERROR"}
    assert error["message"] == f"unexpected error, logged as {incident}"
    (record,) = [record for record in caplog.records if incident in record.getMessage()]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], asyncpg.DivisionByZeroError)


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{ strategies { nodes { description } } }", {}),
        ('{ user(id: "not an id") { id } }', {}),
        ('{ trades(after: "bm90IGEgY3Vyc29y") { totalCount } }', {}),
        ('{ trades(filter: {symbol: {eq: "\'; DROP TABLE users; --"}, pnl: {gt: "x"}}) { totalCount } }', {}),
        ('{ viewer { user { stats { equityCurve(timezone: "../etc") { time } } } } }', {}),
        ("query ($id: ID!) { user(id: $id) { id } }", {"id": {"a": 1}}),
        ('mutation { resetRiskSettings(accountId: "x") { userErrors { message } } }', {}),
        ('mutation { refreshToken(refreshToken: "x") { userErrors { message } } }', {}),
        (
            "query ($d: DateTime) { trades(filter: {entryTime: {gte: $d}}) { totalCount } }",
            {"d": "yesterday"},
        ),
        ("subscription { systemLogAdded { cursor } }", {}),
    ],
)
async def test_an_error_shows_nothing_of_our_insides(
    production: App, token: str, connection: "asyncpg.Connection", query: str, variables: dict[str, Any]
) -> None:
    await factories.strategy(connection)
    await connection.execute(BREAK_STRATEGIES)
    answer = await production.ask(query, variables, token=token)
    assert '"message":' in answer.text
    assert INSIDES.findall(answer.text) == []


async def test_neither_does_the_refusal_of_any_flood(production: App, token: str) -> None:
    for document in DOCUMENTS.values():
        answer = await production.ask(document, token=token, headers={"accept": RESPONSE})
        assert answer.json()["errors"]
        assert INSIDES.findall(answer.text) == []


@pytest.mark.parametrize("descriptions", [True, False])
async def test_in_development_explorers_read_the_whole_schema(app: App, descriptions: bool) -> None:
    query = get_introspection_query(
        descriptions, schema_description=True, specified_by_url=True, input_value_deprecation=True
    )
    answer = await app.ask(query)
    assert "errors" not in answer.json()
    assert build_client_schema(answer.json()["data"]).query_type is not None
