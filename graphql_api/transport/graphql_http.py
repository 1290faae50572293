"""POST and GET /graphql, as the GraphQL-over-HTTP specification says. A front door of this package.

uvicorn's connection (`uvicorn_protocols`) calls the application (`application`), which calls the endpoint
here. The endpoint parses the request to a GraphQLRequest, calls the gateway to find and run its operation,
and sends the result; the results of a subscription are sent by `sse`. The file has, in the order of a
request: the endpoint, headers, body, JSON, parameters, the response.
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from email.message import Message
from enum import StrEnum
from functools import lru_cache, partial
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson
from graphql import OperationType
from starlette.types import Receive, Scope, Send

from graphql_api.execution.errors import LIMIT_EXCEEDED, RequestError
from graphql_api.execution.inputs import ExactFloat
from graphql_api.execution.operations import GraphQLRequest, Operation, Result
from graphql_api.gateway import errors
from graphql_api.gateway.deadline import ClientGoneError
from graphql_api.gateway.errors import HTTPError
from graphql_api.gateway.gateway import FREE_SIZE, LARGE_RESPONSE, Gateway
from graphql_api.identity.viewer import Viewer
from graphql_api.transport import graphiql
from graphql_api.transport.sse import EventStream


class Media(StrEnum):
    """The media types of answers."""

    JSON = "application/json"
    RESPONSE = "application/graphql-response+json"
    EVENTS = "text/event-stream"
    HTML = "text/html"


GetRequests = Literal["off", "preflight", "open"]
RawHeaders = Mapping[bytes, bytes]

# The types that a media range of an Accept header allows, best first.
_RANGES = {
    **{media.value: (media,) for media in Media},
    "*/*": (Media.JSON, Media.RESPONSE),
    "application/*": (Media.JSON, Media.RESPONSE),
    "text/*": (Media.EVENTS,),
}
_MAX_ACCEPT = 2_000  # characters of an Accept header that are parsed; browsers send some 150
_MAX_CONTENT_TYPE = 200  # the standard library's parser takes a second for a long one
_COMMON = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_HEADERS = {media: ((b"content-type", f"{media}; charset=utf-8".encode()), *_COMMON) for media in Media}
_HEADS = {
    media: b"".join(b"%b: %b\r\n" % header for header in headers) + b"content-length: %d\r\n"
    for media, headers in _HEADERS.items()
}
RESPONSE: Final = "graphql_api.response"
"""Our server's extension of ASGI: a function `write` of the status, the head and the body of a response.

It writes the whole response, and returns True; or it returns False, and the response must be sent as
messages.
"""
# Headers that aren't lists. Two different values of one are a mistake, or an attempt to mislead a proxy.
_SINGLE = (
    b"authorization",
    b"content-length",
    b"content-type",
    b"graphql-cost",
    b"host",
    b"idempotency-key",
    b"origin",
)
# Headers that a page of another origin can send only after its browser's CORS preflight was answered.
_PREFLIGHTED = (b"authorization", b"graphql-require-preflight", b"apollo-require-preflight")
_EXTENSION_HEADERS = {
    b"idempotency-key": "idempotencyKey",
    b"graphql-cost": "cost",
    b"graphql-client-name": "clientName",
    b"apollographql-client-name": "clientName",
    b"x-request-id": "requestId",
    b"traceparent": "traceparent",
}
_WORTH_ANOTHER_TRY = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
_UTF_8 = {"utf-8", "utf8", "us-ascii", "ascii"}
_MAX_DIGITS = 18  # digits of a Content-Length; Python refuses to parse thousands
_MAX_QUERY_STRING_FIELDS = 16
_MAX_INTEGER_LENGTH = 20  # characters of a 64-bit integer; Python takes long to parse thousands
_INTEGERS = range(-(2**63), 2**64)  # those that orjson reads and writes as integers
_MAX_LEVELS = 200  # levels of nested JSON: orjson reads 1,024, and writes no more than 254
_MAX_ITEMS = 20_000  # values and lists of JSON, which are visited one by one: 20 ms
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The escape \u0000, but not an escaped backslash that is followed by u0000.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class GraphQLEndpoint:
    """The ASGI application at /graphql, for http scopes.

    `get_requests` says whether queries may be sent by GET. `graphiql_html` is sent to browsers that ask for
    HTML.
    """

    def __init__(
        self, gateway: Gateway, *, get_requests: GetRequests = "off", graphiql_html: bytes | None = None
    ) -> None:
        self._gateway = gateway
        self._get_requests = get_requests
        self._graphiql_html = graphiql_html

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, media, has_answered = perf_counter(), Media.JSON, False
        try:
            headers = combined_headers(scope["headers"])
            media = negotiate(headers.get(b"accept", b"").decode("latin-1"))
            if media is Media.HTML:
                if self._graphiql_html is not None and scope["method"] == "GET":
                    await respond(scope, send, HTTPStatus.OK, media, self._graphiql_html, *graphiql.HEADERS)
                    return
                media = Media.JSON
            client = client_address(scope)
            request = await self._parse(scope, headers, receive, client)
            authorization = headers.get(b"authorization", b"").decode("latin-1")
            operation = await self._find_operation(scope["method"], request, client, authorization)
            del request  # of which a subscription keeps little
            viewer = await self._gateway.authenticate_for(operation, authorization, client)
            if media is Media.EVENTS:
                await EventStream(self._gateway, viewer, client, receive, send).serve(operation)
                return
            kind, result = await self._run(operation, viewer, client, receive)
            status = status_of(result, strict=media is Media.RESPONSE)
            later = errors.retry_after_headers(result) if status in _WORTH_ANOTHER_TRY else ()
            body = result.render()
            has_answered = True
            with self._gateway.count_unread(len(body), viewer, client):
                await respond(scope, send, status, media, body, *later)
            self._gateway.metrics.observe("http", kind, perf_counter() - started, result)
            if result.errors:
                self._gateway.metrics.count_errors(result.errors)
        except ClientGoneError:
            pass
        except HTTPError as error:
            await self._refuse(error, media, scope, send, started)
        except asyncio.CancelledError:
            if has_answered or media is Media.EVENTS:
                raise
            stopping = errors.unavailable("this process is stopping: try again")
            await self._refuse(stopping, media, scope, send, started)
        except Exception as error:  # noqa: BLE001 - masked and logged
            await self._refuse(errors.internal_error(error), media, scope, send, started)

    async def _parse(
        self, scope: Scope, headers: RawHeaders, receive: Receive, client: str
    ) -> GraphQLRequest:
        try:
            if scope["method"] == "POST":
                check_body_headers(headers)
                body = await receive_body(headers, receive, self._gateway.limits.max_body_size)
                await self._pay_for_size(body, headers, client)
                return with_extension_headers(parse_parameters(parse_json(body)), headers)
            self._check_get(scope["method"], headers)
            query_string = scope["query_string"]
            await self._pay_for_size(unquote_to_bytes(query_string), headers, client)
            return with_extension_headers(parse_query_string(query_string), headers)
        except MalformedRequestError as error:
            raise HTTPError(HTTPStatus.BAD_REQUEST, error.code, str(error)) from None

    async def _pay_for_size(self, text: bytes, headers: RawHeaders, client: str) -> None:
        if len(text) > FREE_SIZE:
            authorization = headers.get(b"authorization", b"").decode("latin-1")
            await self._gateway.pay_for_size(text, client, self._gateway.known_viewer(authorization))

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

    async def _find_operation(
        self, method: str, request: GraphQLRequest, client: str, authorization: str
    ) -> Operation | Result:
        try:
            operation = await self._gateway.find_operation(
                request, client, partial(self._gateway.authenticate, authorization, client)
            )
        except RequestError as error:
            return errors.error_result(*error.errors)
        if method == "GET" and operation.type is OperationType.MUTATION:
            # Anyone may repeat, prefetch or cache a GET.
            raise _method_not_allowed("mutations aren't accepted by GET", "POST")
        return operation

    async def _run(
        self, operation: Operation | Result, viewer: Viewer, client: str, receive: Receive
    ) -> tuple[str, Result]:
        if isinstance(operation, Result):
            return "unknown", operation
        if operation.type is OperationType.SUBSCRIPTION:
            raise HTTPError(
                HTTPStatus.BAD_REQUEST,
                "SUBSCRIPTION_NOT_SUPPORTED",
                "subscriptions need a WebSocket (graphql-transport-ws) or Accept: text/event-stream",
            )
        result = await self._gateway.run_operation(operation, viewer, client, receive)
        return operation.type.value, result

    async def _refuse(self, error: HTTPError, media: Media, scope: Scope, send: Send, started: float) -> None:
        media = Media.RESPONSE if media is Media.RESPONSE else Media.JSON
        await respond(scope, send, error.status, media, error.result.render(), *error.headers)
        self._gateway.metrics.observe("http", "unknown", perf_counter() - started, error.result)
        self._gateway.metrics.count_errors(error.result.errors)


def combined_headers(raw: Sequence[tuple[bytes, bytes]]) -> RawHeaders:
    """Returns header values by their names; several lines of one name are one list (RFC 9110 5.3).

    Raises HTTPError (400) if a header that isn't a list has two values.
    """
    headers = dict(raw)
    if len(headers) == len(raw):
        return headers
    values: dict[bytes, dict[bytes, None]] = {}  # a header may have come thousands of times
    for name, value in raw:
        values.setdefault(name, {})[value] = None
    for name in _SINGLE:
        if len(values.get(name, ())) > 1:
            title = name.decode().title()
            raise HTTPError(HTTPStatus.BAD_REQUEST, "BAD_REQUEST", f"{title}: was sent twice, and differs")
    return {name: b", ".join(seen) for name, seen in values.items()}


def client_address(scope: Scope) -> str:
    """Returns the client's network address, as the nearest trusted proxy reports it; empty if unknown."""
    return str((scope.get("client") or ("",))[0])


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Media:
    """Returns the best of our media types that an Accept header allows. Raises HTTPError (406).

    Of several with equal weight, the first is chosen, as clients expect that list several.
    """
    if not accept:
        return Media.JSON
    ranges = [_media_range(part) for part in accept[:_MAX_ACCEPT].lower().split(",")]
    refused = {name for name, weight in ranges if weight == 0}
    best, best_weight = None, 0.0
    for name, weight in ranges:
        media = next((media for media in _RANGES.get(name, ()) if media not in refused), None)
        if media is not None and weight > best_weight:
            best, best_weight = media, weight
    if best is None:
        message = f"Accept: we offer {', '.join(Media)}"
        raise HTTPError(HTTPStatus.NOT_ACCEPTABLE, "NOT_ACCEPTABLE", message)
    return best


def _media_range(text: str) -> tuple[str, float]:
    """Returns a media range's name and its weight, which is 0 if it can't be parsed."""
    name, *parameters = (part.strip() for part in text.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return name, float(value)
            except ValueError:
                return name, 0.0
    return name, 1.0


def check_body_headers(headers: RawHeaders) -> None:
    """Raises HTTPError (415, 501) for a body that isn't uncompressed JSON in UTF-8.

    Since application/json is required, HTML forms of other sites can't send requests.
    """
    if not _is_json(headers.get(b"content-type", b"").decode("latin-1")):
        raise HTTPError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "Content-Type: must be application/json in UTF-8",
        )
    codings = headers.get(b"content-encoding")
    if codings and any(coding.strip().lower() not in (b"identity", b"") for coding in codings.split(b",")):
        raise HTTPError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "Content-Encoding: a compressed body isn't accepted",
            ((b"accept-encoding", b"identity"),),
        )
    if headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
        raise HTTPError(
            HTTPStatus.NOT_IMPLEMENTED, "NOT_IMPLEMENTED", "Transfer-Encoding: must be chunked, and no more"
        )


@lru_cache(maxsize=64)
def _is_json(content_type: str) -> bool:
    if len(content_type) > _MAX_CONTENT_TYPE:
        return False
    header = Message()
    header["content-type"] = content_type
    return header.get_content_type() == Media.JSON and header.get_content_charset("utf-8") in _UTF_8


async def receive_body(headers: RawHeaders, receive: Receive, limit: int) -> bytes:
    """Returns the whole body. Raises HTTPError (413) as soon as it is too long, or ClientGoneError."""
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > _MAX_DIGITS or int(length) > limit:
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


class MalformedRequestError(ValueError):
    """Not a GraphQL request; the message says why, and `code` is for the client."""

    def __init__(self, message: str, code: str = "BAD_REQUEST") -> None:
        super().__init__(message)
        self.code = code


def parse_json(text: bytes | str) -> Any:
    """Returns the decoded JSON. Raises MalformedRequestError.

    It refuses NaN, lone surrogates, more than 200 levels or 20,000 values, numbers beyond a double's range,
    and NUL, which PostgreSQL's text can't hold.
    """
    encoded = (text.encode() if isinstance(text, str) else text).removeprefix(_BYTE_ORDER_MARK)
    # A value or level takes at least two characters, so most requests are too short to exceed these limits.
    is_short = len(encoded) <= 2 * _MAX_LEVELS
    lists = 0 if is_short else encoded.count(b"[") + encoded.count(b"{")
    if lists > _MAX_ITEMS:  # checked before parsing, which would take 0.2 s
        raise MalformedRequestError(f"has more than {_MAX_ITEMS} lists and objects", LIMIT_EXCEEDED)
    try:
        value = orjson.loads(encoded)
    except orjson.JSONDecodeError as error:
        raise MalformedRequestError(f"not JSON: {error.msg}") from None
    if not is_short and lists + encoded.count(b",") > _MAX_ITEMS and _has_more_than(_MAX_ITEMS, value):
        raise MalformedRequestError(f"has more than {_MAX_ITEMS} values", LIMIT_EXCEEDED)
    if lists > _MAX_LEVELS and _is_deeper_than(_MAX_LEVELS, value):
        raise MalformedRequestError(f"nested more than {_MAX_LEVELS} levels deep", LIMIT_EXCEEDED)
    if b"\\u0000" in encoded and _NUL.search(encoded):
        raise MalformedRequestError("text can't contain NUL (\\u0000)")
    # Numbers keep their texts, which are exact; a float may not be.
    if _has_float(value):
        return json.loads(encoded.decode(), parse_float=ExactFloat, parse_int=_integer)
    return value


def _integer(text: str) -> int | ExactFloat:
    is_short = len(text) <= _MAX_INTEGER_LENGTH
    return number if is_short and (number := int(text)) in _INTEGERS else ExactFloat(text)


def _has_float(value: Any) -> bool:
    level = [value]
    for each in level:  # the loop appends to it
        kind = type(each)
        if kind is dict:
            level += each.values()
        elif kind is list:
            level += each
        elif kind is float:
            return True
    return False


def _has_more_than(items: int, value: Any) -> bool:
    level = [value]
    for each in level:  # the loop appends to it
        if isinstance(each, dict | list):
            if len(level) + len(each) > items:
                return True
            level += each.values() if isinstance(each, dict) else each
    return False


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


def parse_parameters(parameters: Any) -> GraphQLRequest:
    """Returns the request in a JSON object. Raises MalformedRequestError."""
    if isinstance(parameters, list):
        raise MalformedRequestError("a list of requests isn't accepted: send one at a time")
    if not isinstance(parameters, dict):
        raise MalformedRequestError("a request is a JSON object")
    extensions = _parse_map(parameters, "extensions")
    query = parameters.get("query")
    if query is None and extensions and "persistedQuery" in extensions:
        query = ""
    elif not isinstance(query, str) or not query:
        raise MalformedRequestError("query: must be a text that isn't empty")
    operation_name = parameters.get("operationName")
    if operation_name is not None and not isinstance(operation_name, str):
        raise MalformedRequestError("operationName: must be a text or null")
    return GraphQLRequest(query, operation_name, _parse_map(parameters, "variables"), extensions)


def parse_query_string(query_string: bytes) -> GraphQLRequest:
    """Returns the request in a URL, where variables and extensions are JSON. Raises MalformedRequestError."""
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
    return parse_parameters(parameters)


def with_extension_headers(request: GraphQLRequest, headers: Mapping[bytes, bytes]) -> GraphQLRequest:
    """Returns the request with the extensions that HTTP clients send as headers, such as Idempotency-Key."""
    if _EXTENSION_HEADERS.keys().isdisjoint(headers):
        return request
    given = {
        name: headers[header].decode("latin-1")
        for header, name in _EXTENSION_HEADERS.items()
        if header in headers
    }
    return replace(request, extensions={**(request.extensions or {}), **given})


def _parse_map(parameters: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, dict):
        raise MalformedRequestError(f"{name}: must be an object or null")
    return value


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
    """Returns the HTTP status of a response.

    `strict` is for application/graphql-response+json, in which a request that can't be executed is 400.
    Clients of application/json take any status but 200 for a network failure, so a well-formed request is
    200.
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
    """Returns whether any root field has a value."""
    data = result.data
    if isinstance(data, orjson.Fragment):
        data = orjson.loads(result.render())["data"]
    return data is not None and any(value is not None for value in data.values())


async def respond(
    scope: Scope, send: Send, status: int, media: Media, body: bytes, *headers: tuple[bytes, bytes]
) -> None:
    size = len(body)
    if not headers and size < LARGE_RESPONSE:
        extension = scope.get("extensions", {}).get(RESPONSE)
        if extension is not None and extension["write"](status, _HEADS[media] % size, body):
            return
    content_length = (b"content-length", b"%d" % size)
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*_HEADERS[media], content_length, *headers],
        }
    )
    if size < LARGE_RESPONSE:
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send(
        {"type": "http.response.body", "body": b""}
    )  # returns once the client has read what was sent before
