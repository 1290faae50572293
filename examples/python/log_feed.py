"""Follow the log without a gap or a repeat, whatever happens to the connection."""

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from http.client import HTTPException
from typing import Any
from urllib.request import Request, urlopen

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

FOLLOW = """
subscription Follow($filter: SystemLogFilter, $after: String, $backfill: Int!) {
  systemLogAdded(filter: $filter, after: $after, backfill: $backfill) {
    cursor
    replayed
    log { id timestamp level component message details }
  }
}
"""
LOGIN = """
mutation Login($email: String!, $password: String!) {
  login(email: $email, password: $password) { accessToken userErrors { message } }
}
"""
PROTOCOL = Subprotocol("graphql-transport-ws")

# Errors that pass: subscribe again, with the last cursor.
TEMPORARY = {
    "FEED_UNAVAILABLE",
    "PERMISSIONS_CHANGED",
    "RATE_LIMITED",
    "SERVICE_UNAVAILABLE",
    "TIMEOUT",
    "UNAUTHENTICATED",
}


class FeedEndedError(Exception):
    """The feed can't continue without a gap; `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


async def follow(
    url: str,
    sign_in: Callable[[], Awaitable[str]],
    *,
    filter: dict[str, Any] | None = None,  # noqa: A002 - the API's own word
    after: str | None = None,
    backfill: int = 0,
    on_ready: Callable[[], None] = lambda: None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[dict[str, Any]]:
    """Return the events of systemLogAdded, each with the cursor to resume after it. Raises FeedEndedError.

    `sign_in` returns an access token, and is called for each connection. `on_ready` is called once, when the
    service listens: every matching line that is written afterwards arrives. `on_progress` is called with a
    cursor then, and from time to time while no line matches: store it as you store a line's.
    """
    pause = 0.1
    ready = False
    socket_url = url.replace("http", "ws", 1)
    while True:
        try:
            # Waiting for the end of a broken connection would only delay the next one.
            async with connect(socket_url, subprotocols=[PROTOCOL], close_timeout=1) as socket:
                await _say(
                    socket, type="connection_init", payload={"Authorization": f"Bearer {await sign_in()}"}
                )
                # One message after the other: a cursor counts once every event before it is dealt with.
                async for text in socket:
                    match json.loads(text):
                        case {"type": "connection_ack"}:
                            variables = {
                                "filter": filter,
                                "after": after,
                                "backfill": 0 if after else backfill,
                            }
                            payload = {"query": FOLLOW, "variables": variables}
                            await _say(socket, id="follow", type="subscribe", payload=payload)
                        case {"type": "next", "payload": {"data": {"systemLogAdded": event}}}:
                            yield event
                            after = event["cursor"]
                            pause = 0.1
                        case {"type": "next", "payload": {"errors": errors}} | {
                            "type": "error",
                            "payload": errors,
                        }:
                            _raise_unless_temporary(errors)
                            break
                        case {"type": "ping", "payload": {"cursor": cursor}}:
                            await _say(socket, type="pong")
                            if not ready:
                                ready = True
                                on_ready()
                            on_progress(cursor)
                            after = cursor
                        case {"type": "ping"}:
                            await _say(socket, type="pong")
        except (OSError, HTTPException, WebSocketException):
            pass  # the connection broke, and the cursor says where to resume
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 2, 10)


async def _say(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


def _raise_unless_temporary(errors: list[dict[str, Any]]) -> None:
    code = errors[0].get("extensions", {}).get("code", "UNKNOWN")
    if code not in TEMPORARY:
        raise FeedEndedError(code, errors[0]["message"])


async def main(url: str, email: str, password: str, filter: str = "null", after: str | None = None) -> None:  # noqa: A002 - as above
    """Print events as JSON lines, and progress as lines with nothing but a cursor. The filter is JSON."""

    def log_in() -> str:
        body = {"query": LOGIN, "variables": {"email": email, "password": password}}
        request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urlopen(request) as response:
            answer = json.load(response)
        if "errors" in answer:
            _raise_unless_temporary(answer["errors"])
            raise ConnectionError(answer["errors"][0]["message"])
        payload = answer["data"]["login"]
        if payload["accessToken"] is None:
            raise SystemExit(payload["userErrors"][0]["message"])
        return str(payload["accessToken"])

    def show(line: dict[str, Any]) -> None:
        print(json.dumps(line), flush=True)

    async for event in follow(
        url,
        lambda: asyncio.to_thread(log_in),
        filter=json.loads(filter),
        after=after,
        on_progress=lambda cursor: show({"cursor": cursor}),
    ):
        show(event)


if __name__ == "__main__":
    if not 4 <= len(sys.argv) <= 6:
        raise SystemExit("usage: log_feed.py URL E-MAIL PASSWORD [FILTER [CURSOR]]")
    try:
        asyncio.run(main(*sys.argv[1:]))
    except FeedEndedError as error:
        raise SystemExit(str(error)) from None
