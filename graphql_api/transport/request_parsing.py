"""Reading a GraphQL request out of what HTTP and WebSocket carry."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl

import orjson

from graphql_api.execution.operations import GraphQLRequest

_MAX_QUERY_STRING_FIELDS = 16
# An escape, and not an escaped backslash with u0000 behind it.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_IN_HEADERS = {b"idempotency-key": "idempotencyKey", b"graphql-cost": "cost"}


class MalformedRequestError(ValueError):
    """A request that isn't one; the message says what is wrong with it."""


def parse_json(text: bytes | str) -> Any:
    """Decode JSON. Raises MalformedRequestError.

    Refused are NaN, lone surrogates, more than 1,024 levels, numbers beyond a double, and NUL, which
    PostgreSQL's text has no room for.
    """
    encoded = text.encode() if isinstance(text, str) else text
    try:
        value = orjson.loads(encoded)
    except orjson.JSONDecodeError as error:
        raise MalformedRequestError(f"not JSON: {error.msg}") from None
    if b"\\u0000" in encoded and _NUL.search(encoded):
        raise MalformedRequestError("text can't contain NUL (\\u0000)")
    return value


def read_parameters(parameters: Any) -> GraphQLRequest:
    """The request in a JSON object. Raises MalformedRequestError."""
    if isinstance(parameters, list):
        raise MalformedRequestError("a list of requests isn't accepted: send one at a time")
    if not isinstance(parameters, dict):
        raise MalformedRequestError("a request is a JSON object")
    extensions = _read_map(parameters, "extensions")
    query = parameters.get("query")
    if query is None and extensions and "persistedQuery" in extensions:
        query = ""
    elif not isinstance(query, str) or not query:
        raise MalformedRequestError("query: must be a text that isn't empty")
    operation_name = parameters.get("operationName")
    if operation_name is not None and not isinstance(operation_name, str):
        raise MalformedRequestError("operationName: must be a text or null")
    return GraphQLRequest(query, operation_name, _read_map(parameters, "variables"), extensions)


def read_query_string(query_string: bytes) -> GraphQLRequest:
    """The request in a URL, where variables and extensions are JSON. Raises MalformedRequestError."""
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_QUERY_STRING_FIELDS,
        )
    except ValueError:
        raise MalformedRequestError("the query string isn't UTF-8, or has too many fields") from None
    parameters: dict[str, Any] = dict(pairs)
    for name in ("variables", "extensions"):
        if parameters.get(name):
            parameters[name] = parse_json(parameters[name])
        else:
            parameters.pop(name, None)
    return read_parameters(parameters)


def with_headers(request: GraphQLRequest, headers: Mapping[bytes, bytes]) -> GraphQLRequest:
    """The request with those of its extensions that HTTP has in headers."""
    given = {
        name: headers[header].decode("latin-1") for header, name in _IN_HEADERS.items() if header in headers
    }
    if not given:
        return request
    return replace(request, extensions={**(request.extensions or {}), **given})


def _read_map(parameters: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, dict):
        raise MalformedRequestError(f"{name}: must be an object or null")
    return value
