"""POST and GET /graphql, as the GraphQL-over-HTTP specification says."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from http import HTTPStatus
from time import perf_counter
from typing import Any, Literal
from urllib.parse import parse_qsl

import orjson
from graphql import OperationType
from starlette.types import Receive, Scope, Send

from graphql_api.dev import graphiql
from graphql_api.execution.documents import RequestError
from graphql_api.execution.operations import GraphQLRequest, Operation
from graphql_api.execution.results import Result
from graphql_api.gateway import errors
from graphql_api.gateway.errors import HTTPError
from graphql_api.gateway.gateway import ClientGoneError, Gateway
from graphql_api.identity.viewer import Viewer
from graphql_api.transport.sse import EventStream


class Media(StrEnum):
    """What /graphql can answer with."""

    JSON = "application/json"
    RESPONSE = "application/graphql-response+json"
    EVENTS = "text/event-stream"
    HTML = "text/html"


GetRequests = Literal["off", "preflight", "open"]
RawHeaders = Mapping[bytes, bytes]

_CONTENT_TYPES = {media: (b"content-type", f"{media}; charset=utf-8".encode()) for media in Media}
_LONGEST_NUMBER = 18  # digits of a Content-Length; Python refuses to read thousands
_COMMON = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
# Headers that a page of another origin can't send before its browser has asked us (a CORS preflight).
_PREFLIGHTED = (b"authorization", b"graphql-require-preflight", b"apollo-require-preflight")
# What a wildcard stands for, best first.
_WILDCARDS = {
    "*/*": Media.JSON,
    "application/*": Media.JSON,
    "text/*": Media.EVENTS,
}

_MOST = 32  # entries that are looked at; browsers send ten
_MAX_QUERY_STRING_FIELDS = 16
_MAX_LEVELS = 200  # of JSON: orjson reads 1,024 levels, and writes no more than 254
# An escape, and not an escaped backslash with u0000 behind it.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_IN_HEADERS = {b"idempotency-key": "idempotencyKey", b"graphql-cost": "cost"}


class GraphQLEndpoint:
    """The ASGI application behind /graphql, for http scopes.

    `get_requests` says whether queries may come by GET; `page` is for browsers that ask for HTML.
    """

    def __init__(
        self, gateway: Gateway, *, get_requests: GetRequests = "off", page: bytes | None = None
    ) -> None:
        self._gateway = gateway
        self._get_requests = get_requests
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = perf_counter()
        headers: RawHeaders = dict(scope["headers"])
        media = negotiate(headers.get(b"accept", b"").decode("latin-1"))
        if media is Media.HTML:
            if self._page is not None and scope["method"] == "GET":
                await respond(send, HTTPStatus.OK, media, self._page, *graphiql.HEADERS)
                return
            media = Media.JSON
        if media is None:
            await self._refuse(not_acceptable(), Media.JSON, send, started)
            return
        try:
            request = await self._read(scope, headers, receive)
            client = client_address(scope)
            operation = await self._prepare(scope["method"], request, client)
            viewer = await self._gateway.authenticate_for(
                operation, headers.get(b"authorization", b"").decode("latin-1")
            )
            if media is Media.EVENTS:
                await EventStream(self._gateway, viewer, client, receive, send).serve(operation)
                return
            kind, result = await self._run(operation, viewer, client, receive)
            status = status_of(result, strict=media is Media.RESPONSE)
            later = errors.RETRY_AFTER if status is HTTPStatus.SERVICE_UNAVAILABLE else ()
            await respond(send, status, media, result.render(), *later)
            self._gateway.metrics.observe("http", kind, perf_counter() - started, result)
            if result.errors:
                self._gateway.metrics.count_errors(result.errors)
        except ClientGoneError:
            pass
        except HTTPError as error:
            await self._refuse(error, media, send, started)
        except asyncio.CancelledError:
            if media is Media.EVENTS:
                raise
            stopping = errors.unavailable("this process is stopping: try again")
            await self._refuse(stopping, media, send, started)
        except Exception as error:  # noqa: BLE001 - masked and logged
            await self._refuse(errors.internal_error(error), media, send, started)

    async def _prepare(self, method: str, request: GraphQLRequest, client: str) -> Operation | Result:
        try:
            operation = await self._gateway.find_operation(request, client)
        except RequestError as error:
            return errors.error_result(*error.errors)
        if method == "GET" and operation.kind is OperationType.MUTATION:
            # Anyone may repeat, prefetch or cache a GET.
            raise _method_not_allowed("mutations aren't accepted by GET", "POST")
        return operation

    async def _run(
        self, operation: Operation | Result, viewer: Viewer, client: str, receive: Receive
    ) -> tuple[str, Result]:
        if isinstance(operation, Result):
            return "unknown", operation
        if operation.kind is OperationType.SUBSCRIPTION:
            raise HTTPError(
                HTTPStatus.BAD_REQUEST,
                "SUBSCRIPTION_NOT_SUPPORTED",
                "subscriptions need a WebSocket (graphql-transport-ws) or Accept: text/event-stream",
            )
        result = await self._gateway.run_operation(operation, viewer, client, receive)
        return operation.kind.value, result

    async def _refuse(self, error: HTTPError, media: Media, send: Send, started: float) -> None:
        media = Media.RESPONSE if media is Media.RESPONSE else Media.JSON
        await respond(send, error.status, media, error.result.render(), *error.headers)
        self._gateway.metrics.observe("http", "unknown", perf_counter() - started, error.result)
        self._gateway.metrics.count_errors(error.result.errors)

    async def _read(self, scope: Scope, headers: RawHeaders, receive: Receive) -> GraphQLRequest:
        try:
            if scope["method"] == "POST":
                check_body_headers(headers)
                body = await read_body(headers, receive, self._gateway.limits.max_body_size)
                return with_headers(read_parameters(parse_json(body)), headers)
            self._check_get(scope["method"], headers)
            return with_headers(read_query_string(scope["query_string"]), headers)
        except MalformedRequestError as error:
            raise HTTPError(HTTPStatus.BAD_REQUEST, "BAD_REQUEST", str(error)) from None

    def _check_get(self, method: str, headers: RawHeaders) -> None:
        if method != "GET" or self._get_requests == "off":
            allowed = "POST" if self._get_requests == "off" else "GET, POST"
            raise _method_not_allowed(f"{method} isn't accepted", allowed)
        if self._get_requests == "preflight" and not any(name in headers for name in _PREFLIGHTED):
            raise HTTPError(
                HTTPStatus.FORBIDDEN,
                "PREFLIGHT_REQUIRED",
                "a GET needs a header that other sites' pages can't send: GraphQL-Require-Preflight",
            )


def client_address(scope: Scope) -> str:
    """The network address of who asks, as the nearest trusted proxy reports it; empty if unknown."""
    return str((scope.get("client") or ("",))[0])


def not_acceptable() -> HTTPError:
    """What a client gets that accepts nothing of ours."""
    return HTTPError(HTTPStatus.NOT_ACCEPTABLE, "NOT_ACCEPTABLE", f"Accept: we offer {', '.join(Media)}")


def check_body_headers(headers: RawHeaders) -> None:
    """Refuse a body that isn't plain JSON in UTF-8. Raises HTTPError (415).

    Requiring application/json is what keeps another site's form from posting here.
    """
    media, _, parameters = headers.get(b"content-type", b"").decode("latin-1").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip(' "')
    if media.strip() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise HTTPError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "Content-Type: must be application/json in UTF-8",
        )
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise HTTPError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "Content-Encoding: a compressed body isn't accepted",
            ((b"accept-encoding", b"identity"),),
        )


async def read_body(headers: RawHeaders, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises HTTPError (413) as soon as it is known to be too long, or ClientGoneError."""
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > _LONGEST_NUMBER or int(length) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _method_not_allowed(message: str, allowed: str) -> HTTPError:
    return HTTPError(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        f"{message}: use {allowed}",
        ((b"allow", allowed.encode()),),
    )


def _too_large(limit: int) -> HTTPError:
    return HTTPError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "PAYLOAD_TOO_LARGE",
        f"the body may have {limit} bytes at most",
    )


def status_of(result: Result, *, strict: bool) -> HTTPStatus:
    """The HTTP status of a response.

    Strict is application/graphql-response+json, where a request that can't be executed is 400. Clients of
    application/json take anything but 200 for a broken network, so they get it wherever we understood them.
    """
    if not result.errors:
        return HTTPStatus.OK
    codes = {(error.extensions or {}).get("code") for error in result.errors}
    if errors.UNAVAILABLE in codes and not _answered(result):
        return HTTPStatus.SERVICE_UNAVAILABLE
    if result.executed:
        return HTTPStatus.OK
    if errors.TIMEOUT in codes:
        return HTTPStatus.GATEWAY_TIMEOUT
    if errors.INTERNAL in codes:
        return HTTPStatus.INTERNAL_SERVER_ERROR
    return HTTPStatus.BAD_REQUEST if strict else HTTPStatus.OK


def _answered(result: Result) -> bool:
    """Whether any root field has a value."""
    data = orjson.loads(result.render()).get("data")
    return data is not None and any(value is not None for value in data.values())


async def respond(send: Send, status: int, media: Media, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """Send one whole response."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                _CONTENT_TYPES[media],
                (b"content-length", b"%d" % len(body)),
                *_COMMON,
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Media | None:
    """The best of our types that an Accept header allows; None if it allows none.

    Equal weights go to the first named, which is how clients that list several mean it.
    """
    if not accept:
        return Media.JSON
    best, best_weight = None, 0.0
    for entry in accept.lower().split(",", _MOST)[:_MOST]:
        name, *parameters = (part.strip() for part in entry.split(";"))
        media = _WILDCARDS.get(name) or next((media for media in Media if media == name), None)
        weight = _weight(parameters)
        if media is not None and weight > best_weight:
            best, best_weight = media, weight
    return best


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


class MalformedRequestError(ValueError):
    """A request that isn't one; the message says what is wrong with it."""


def parse_json(text: bytes | str) -> Any:
    """Decode JSON. Raises MalformedRequestError.

    Refused are NaN, lone surrogates, more than 200 levels, numbers beyond a double, and NUL, which
    PostgreSQL's text has no room for.
    """
    encoded = text.encode() if isinstance(text, str) else text
    try:
        value = orjson.loads(encoded)
    except orjson.JSONDecodeError as error:
        raise MalformedRequestError(f"not JSON: {error.msg}") from None
    if encoded.count(b"[") + encoded.count(b"{") > _MAX_LEVELS and _is_deeper_than(_MAX_LEVELS, value):
        raise MalformedRequestError(f"nested more than {_MAX_LEVELS} levels deep")
    if b"\\u0000" in encoded and _NUL.search(encoded):
        raise MalformedRequestError("text can't contain NUL (\\u0000)")
    return value


def _is_deeper_than(levels: int, value: Any) -> bool:
    containers = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        containers = [
            child
            for container in containers
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, dict | list)
        ]
    return bool(containers)


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
