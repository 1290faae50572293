"""Requests made to knock the service over: each is refused at once, as the client's mistake."""

import gzip
import json
from typing import Any

import orjson
import pytest

from graphql_api.identity.viewer import Scope
from tests.app import App

pytestmark = pytest.mark.slow

RESPONSE = "application/graphql-response+json"
DEEP = 100_000


def nested(levels: int) -> bytes:
    """A filter within filters, as JSON."""
    return b'{"filter": ' + b'{"not": ' * levels + b"{}" + b"}" * levels + b"}"


def doubling(fragments: int, selection: str) -> str:
    parts = [f"fragment F{i} on Viewer {{ ...F{i + 1} ...F{i + 1} }}" for i in range(fragments)]
    return f"{{ viewer {{ ...F0 }} }} {' '.join(parts)} fragment F{fragments} on Viewer {{ {selection} }}"


def chain(fragments: int) -> str:
    """Fragments that each spread two others."""
    parts = [
        f"fragment F{i} on Query {{ ...F{i + 1} ...F{i + 2} viewer {{ roles }} }}" for i in range(fragments)
    ]
    last = [f"fragment F{fragments + i} on Query {{ viewer {{ roles }} }}" for i in (0, 1)]
    return f"{{ ...F0 }} {' '.join(parts + last)}"


DOCUMENTS = {
    "fragments that double": doubling(60, "a: roles"),
    "fragments that double below the root": chain(60),
    "a cycle of one": "{ ...F } fragment F on Query { ...F }",
    "a cycle of many": "{ ...F0 }"
    + "".join(f"fragment F{i} on Query {{ ...F{(i + 1) % 90} ...F{(i * 7) % 90} }}" for i in range(90)),
    "aliases": "{" + " ".join(f"a{i}: viewer {{ roles }}" for i in range(300)) + "}",
    "aliases in fragments": "{ viewer {" + "...A " * 31 + "} } fragment A on Viewer { a: roles }",
    "directives": "{ viewer { roles " + "@skip(if: false) " * 51 + "} }",
    "unknown directives": "{ viewer { roles " + "@x " * 900 + "} }",
    "the same field": "{ viewer {" + " user { id }" * 450 + "} }",
    "the same leaf": "{ viewer {" + " roles" * 1900 + "} }",
    "the same lists": "{ viewer {" + " user { accounts { nodes { id } } }" * 160 + "} }",
    "fields at the root": "{" + " viewer { roles }" * 21 + "}",
    "levels": "{ viewer { user " + "{ accounts { nodes { user " * 20 + "{ id }" + " } } }" * 20 + "} }",
    "levels beyond the parser": "{ a" * DEEP,
    "inline fragments": "{" + "... {" * 900 + "viewer { roles }" + "}" * 901,
    "lists in lists": "{ nodes(ids: " + "[" * 900 + "]" * 900 + ") { id } }",
    "objects in objects": "{ trades(filter: " + "{not: " * 300 + "{}" + "}" * 300 + ") { totalCount } }",
    "pages of pages": "{ accounts(first: 100) { nodes { sessions(first: 100) { nodes {"
    " trades(first: 100) { nodes { id } } } } } } }",
    "tokens": "{ viewer { roles } }" + "{" * 2_000,
    "characters": "{ viewer { roles } }" + " " * 15_000,
    "comments": "#\n" * 7_000,
    "operations": " ".join(f"query A{i} {{ viewer {{ roles }} }}" for i in range(220)),
    "unknown fields": "{" + " ".join(f"x{i}" for i in range(1_900)) + "}",
    "unused variables": "query (" + " ".join(f"$v{i}: Int" for i in range(450)) + ") { viewer { roles } }",
    "a huge number": "{ users(first: " + "9" * 10_000 + ") { totalCount } }",
    "NUL": '{ users(filter: {email: {eq: "\\u0000"}}) { totalCount } }',
    "a lone surrogate": '{ users(filter: {email: {eq: "\\uD800"}}) { totalCount } }',
    "an introspection of lists of lists": "{ __schema { types { fields { type { fields { type { fields"
    " { type { fields { name } } } } } } } } } }",
}

BATCH = [{"query": "{ viewer { roles } }"}] * 1_000
# Read as documents, and refused where the argument can be named.
DECIMALS = {
    "a huge float": "1e999999999",
    "a number of many digits": "9" * 10_000,
    "a huge exponent's digits": "1e" + "9" * 10_000,
}

TRADES = "query ($filter: TradeFilter, $first: Int) { trades(filter: $filter, first: $first) { totalCount } }"

BODIES: dict[str, str | bytes] = {
    "a batch": json.dumps(BATCH),
    "lists in lists": '{"query": "{ viewer { roles } }", "variables": ' + "[" * DEEP + "]" * DEEP + "}",
    "objects in objects": '{"v":' * DEEP + "{}" + "}" * DEEP,
    "an unclosed list": "[" * DEEP,
    "a huge number": '{"query": "{ viewer { roles } }", "variables": {"n": ' + "9" * 100_000 + "}}",
    "a huge exponent": '{"query": "{ viewer { roles } }", "variables": {"n": 1e999999999}}',
    "NaN": '{"query": "{ viewer { roles } }", "variables": {"n": NaN}}',
    "NUL": '{"query": "{ viewer { roles } }", "variables": {"n": "\\u0000"}}',
    "a lone surrogate": '{"query": "{ viewer { roles } }", "variables": {"n": "\\ud800"}}',
    "not UTF-8": b'{"query": "{ viewer { roles } }\xff"}',
    "a UTF-16 text": json.dumps({"query": "{ viewer { roles } }"}).encode("utf-16"),
    "null": "null",
    "nothing": "",
}

VARIABLES: dict[str, dict[str, Any] | bytes] = {
    "filters in filters": nested(300),
    "as many levels of filters as variables may have": nested(90),
    "filters in filters beyond the stack": nested(1_000),
    "many conditions": {"filter": {"or": [{"symbol": {"eq": "X"}}] * 51}},
    "very many conditions": {"filter": {"or": [{"symbol": {"eq": "X"}}] * 30_000}},
    "too many values for a list": {"filter": {"symbol": {"in": ["X"] * 1_001}}},
    "too many values at all": {"filter": {"symbol": {"in": ["X"] * 100_000}}},
    "a huge page": {"first": 2**31},
    "a negative page": {"first": -1},
    "a page in words": {"first": "many"},
    "a number that isn't finite": {"filter": {"pnl": {"gt": "Infinity"}}},
    "a list for a filter": {"filter": [[[[]]]]},
}


@pytest.fixture
async def token(app: App) -> str:
    """The token of a viewer who may read everything, so that nothing is refused for lack of permission."""
    return await app.token(Scope.GRAPH_READ_ANY, Scope.LOGS_READ)


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_a_document_that_is_too_much_is_refused(app: App, token: str, name: str) -> None:
    answer = await app.ask(DOCUMENTS[name], token=token, headers={"accept": RESPONSE})
    assert answer.status_code == 400, answer.text
    assert len(answer.json()["errors"]) <= 100


@pytest.mark.parametrize("text", DECIMALS.values(), ids=DECIMALS)
async def test_a_decimal_that_is_too_much_is_refused_by_its_argument(app: App, token: str, text: str) -> None:
    answer = await app.ask(f'{{ trades(filter: {{pnl: {{gt: "{text}"}}}}) {{ totalCount }} }}', token=token)
    (error,) = answer.json()["errors"]
    assert error["extensions"] == {"code": "BAD_USER_INPUT", "argument": "filter.pnl.gt"}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_no_request_is_refused(app: App, token: str, name: str) -> None:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    answer = await app.client.post("/graphql", content=BODIES[name], headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["extensions"]["code"] in ("BAD_REQUEST", "LIMIT_EXCEEDED")


@pytest.mark.parametrize("name", VARIABLES)
async def test_variables_that_are_too_much_are_refused(app: App, token: str, name: str) -> None:
    variables = VARIABLES[name]
    given = orjson.Fragment(variables) if isinstance(variables, bytes) else variables
    body = orjson.dumps({"query": TRADES, "variables": given})
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json", "accept": RESPONSE}
    answer = await app.client.post("/graphql", content=body, headers=headers)
    assert answer.status_code < 500, answer.text
    (error,) = answer.json()["errors"]
    assert error["extensions"]["code"] in ("BAD_USER_INPUT", "LIMIT_EXCEEDED")


async def test_what_is_compressed_is_not_inflated(app: App) -> None:
    bomb = gzip.compress(b" " * 200_000_000)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = await app.client.post("/graphql", content=bomb, headers=headers)
    assert answer.status_code == 415


async def test_a_body_that_goes_on_is_not_read_on(app: App) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 65_536
            yield b" " * 65_536

    answer = await app.client.post(
        "/graphql", content=endless(), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413
    assert sent < 2_000_000
