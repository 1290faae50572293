"""Every refusal has a code, and docs/transports.md lists it."""

import ast
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

import graphql_api
from tests.http_client import http_client
from tests.transport.conftest import Serve
from tests.transport.http import RESPONSE, code

PAGE = (Path(__file__).parents[2] / "docs" / "transports.md").read_text()


def statuses_and_codes() -> set[tuple[int, str]]:
    """What the table of statuses pairs."""
    pairs = set()
    for statuses, codes in re.findall(r"^\| ([\d, ]+) \| (.*?) \|", PAGE, re.MULTILINE):
        for status in statuses.split(", "):
            pairs |= {(int(status), found) for found in re.findall(r"[A-Z_]+", codes)}
    return pairs


def asking(query: str, **headers: str) -> dict[str, Any]:
    return {"method": "POST", "json": {"query": query}, "headers": headers}


REFUSED: list[tuple[int, str, dict[str, Any]]] = [
    (400, "BAD_REQUEST", {"method": "POST", "json": []}),
    (400, "BAD_REQUEST", {"method": "GET", "headers": {"upgrade": "websocket", "connection": "Upgrade"}}),
    (400, "GRAPHQL_PARSE_FAILED", asking("{", accept=RESPONSE)),
    (400, "GRAPHQL_VALIDATION_FAILED", asking("{ nothing }", accept=RESPONSE)),
    (400, "SUBSCRIPTION_NOT_SUPPORTED", asking("subscription { count }")),
    (401, "UNAUTHENTICATED", asking("{ hello }", authorization="Bearer forged")),
    (404, "NOT_FOUND", {"method": "POST", "url": "/nowhere"}),
    (405, "METHOD_NOT_ALLOWED", {"method": "POST", "url": "/healthz"}),
    (405, "METHOD_NOT_ALLOWED", {"method": "PUT"}),
    (405, "METHOD_NOT_ALLOWED", {"method": "GET", "params": {"query": "mutation { write }"}}),
    (406, "NOT_ACCEPTABLE", asking("{ hello }", accept="image/png")),
    (413, "PAYLOAD_TOO_LARGE", asking(" " * 2_000_000)),
    (415, "UNSUPPORTED_MEDIA_TYPE", {"method": "POST", "content": b"{}"}),
    (431, "REQUEST_HEADER_FIELDS_TOO_LARGE", asking("{ hello }", x="a" * 40_000)),
    (500, "INTERNAL_SERVER_ERROR", asking("{ cancelled }")),
    (503, "SERVICE_UNAVAILABLE", asking("{ unavailable }")),
    (504, "TIMEOUT", asking("{ slow }")),
]


@pytest.mark.parametrize(("status", "expected", "request_"), REFUSED)
async def test_every_refusal_is_in_the_table_with_its_code(
    serve: Serve, status: int, expected: str, request_: dict[str, Any]
) -> None:
    served = serve(settings={"operation_timeout": 0.5})
    async with http_client(base_url=f"http://{served.host}") as client:
        response = await client.request(**{"url": "/graphql"} | request_)
    assert (response.status_code, code(response)) == (status, expected)
    assert (status, expected) in statuses_and_codes()


def raised() -> Iterator[tuple[int, str]]:
    """The statuses and codes with which the source makes its HTTPErrors, where it spells both out."""
    for file in Path(graphql_api.__file__).parent.glob("**/*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name("HTTPError"),
                    args=[ast.Attribute(attr=status), ast.Constant(str(error)), *_],
                ):
                    yield HTTPStatus[status], error
                case ast.Call(func=ast.Name("_refusal"), args=[ast.Attribute(attr=status), *_]):
                    yield HTTPStatus[status], status


def test_every_error_of_http_in_the_source_is_in_the_table() -> None:
    found = set(raised())
    assert len(found) > 15
    assert found <= statuses_and_codes()
