"""Keep a live table of running sessions and open trades, whatever happens to the connection."""

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from functools import partial
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

SNAPSHOT = """
query Snapshot($after: String) {
  activityCursor
  sessions(first: 20, after: $after, filter: {isRunning: true}) {
    nodes { ...SessionRow trades(first: 100) { nodes { ...TradeRow } pageInfo { hasNextPage endCursor } } }
    pageInfo { hasNextPage endCursor }
  }
}
query MoreTrades($session: ID!, $after: String) {
  activityCursor
  session(id: $session) {
    trades(first: 100, after: $after) { nodes { ...TradeRow } pageInfo { hasNextPage endCursor } }
  }
}
fragment SessionRow on Session { id endedAt initialBalance account { accountNumber } }
fragment TradeRow on Trade { id symbol direction size pnl status session { id } }
"""
FOLLOW = """
subscription Follow($after: String!) {
  accountActivity(kinds: [SESSION, TRADE], after: $after) {
    cursor kind change rowId
    node {
      ... on Session { id endedAt initialBalance account { accountNumber } }
      ... on Trade { id symbol direction size pnl status session { id } }
    }
  }
}
"""
LOGIN = """
mutation Login($email: String!, $password: String!) {
  login(email: $email, password: $password) { accessToken userErrors { code message } }
}
"""
PROTOCOL = Subprotocol("graphql-transport-ws")

# Errors that pass: ask or subscribe again, with the last cursor. After those of RESETS: query again.
TEMPORARY = {"FEED_UNAVAILABLE", "RATE_LIMITED", "SERVICE_UNAVAILABLE", "TIMEOUT", "UNAUTHENTICATED"}
RESETS = {
    "CURSOR_EXPIRED",
    "FEED_RESET_FAILOVER",
    "FEED_RESET_RESTORE",
    "INVALID_CURSOR",
    "PERMISSIONS_CHANGED",
}

REPORT_EVERY = 1000  # trades

Ask = Callable[[str, dict[str, Any]], dict[str, Any]]


class ServiceError(Exception):
    """What the service has refused, with the code of its first error."""

    def __init__(self, code: str | None, message: str) -> None:
        super().__init__(message)
        self.code = code


class Copy:
    """Running sessions and their trades, as the database holds them at `cursor`; None: not read yet."""

    def __init__(self) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.trades: dict[str, dict[str, Any]] = {}
        self.cursor: str | None = None

    async def read(self, ask: Ask, on_trades: Callable[[int], None] = lambda _: None) -> None:
        """Query everything. The first cursor counts: no later than anything that was read.

        `on_trades` is called with the number of trades that have been read, every thousand or so.
        """
        reported = 0
        self.sessions, self.trades, self.cursor = {}, {}, None
        cursor: str | None = None
        after: str | None = None
        while True:
            data = await asyncio.to_thread(ask, "Snapshot", {"after": after})
            cursor = cursor or data["activityCursor"]
            for session in data["sessions"]["nodes"]:
                self.sessions[session["id"]] = session
                page = session.pop("trades")
                while True:
                    self.trades.update((trade["id"], trade) for trade in page["nodes"])
                    if len(self.trades) - reported >= REPORT_EVERY:
                        reported = len(self.trades)
                        on_trades(reported)
                    if not page["pageInfo"]["hasNextPage"]:
                        break
                    variables = {"session": session["id"], "after": page["pageInfo"]["endCursor"]}
                    found = (await asyncio.to_thread(ask, "MoreTrades", variables))["session"]
                    if found is None:  # its removal is among the events
                        break
                    page = found["trades"]
            if not data["sessions"]["pageInfo"]["hasNextPage"]:
                self.cursor = cursor
                return
            after = data["sessions"]["pageInfo"]["endCursor"]

    def apply(self, event: dict[str, Any]) -> None:
        """Put a row in the place of the one with its id, or take that away."""
        self.cursor = event["cursor"]
        match event:
            case {"kind": "TRADE", "rowId": id_, "node": None}:
                self.trades.pop(id_, None)
            case {"kind": "TRADE", "rowId": id_, "node": trade}:
                self.trades[id_] = trade
            case {"kind": "SESSION", "rowId": id_, "node": {"endedAt": None} as session}:
                if event["change"] == "CHANGED" and id_ not in self.sessions:
                    self.cursor = None  # it runs again after its end, and its trades were not kept
                else:
                    self.sessions[id_] = session
            case {"kind": "SESSION", "rowId": id_}:
                self.sessions.pop(id_, None)
                self.trades = {key: row for key, row in self.trades.items() if _session_of(row) != id_}

    def table(self) -> list[dict[str, Any]]:
        """A line for each running session: its equity as far as the bot has stored it, and open trades."""
        lines = []
        for session in self.sessions.values():
            trades = [trade for trade in self.trades.values() if _session_of(trade) == session["id"]]
            equity = _amount(session["initialBalance"]) + sum(_amount(trade["pnl"]) for trade in trades)
            lines.append(
                {
                    "session": session["id"],
                    "account": (session["account"] or {}).get("accountNumber"),
                    "equity": f"{equity:.8f}".rstrip("0").rstrip("."),
                    "open": sorted(
                        f"{trade['direction']} {trade['size']} {trade['symbol']}"
                        for trade in trades
                        if trade["status"] == "OPEN"
                    ),
                }
            )
        return sorted(lines, key=lambda line: (str(line["account"]), line["session"]))


def _session_of(trade: dict[str, Any]) -> str | None:
    return None if trade["session"] is None else trade["session"]["id"]


def _amount(text: str | None) -> Decimal:
    """A stored decimal; null and NaN count 0."""
    return Decimal(0) if text in (None, "NaN") else Decimal(text)


async def keep(
    url: str, sign_in: Callable[[], Awaitable[str]], on_trades: Callable[[int], None] = lambda _: None
) -> AsyncIterator[Copy]:
    """Yields the copy whenever it or its cursor has changed and it is up to date.

    `on_trades` is called as `Copy.read` does. Raises ServiceError for errors that stay.
    """
    copy, pause = Copy(), 0.1
    socket_url = url.replace("http", "ws", 1)
    while True:
        try:
            token = await sign_in()
            if copy.cursor is None:
                await copy.read(partial(_ask, url, token), on_trades)
            async with connect(socket_url, subprotocols=[PROTOCOL], close_timeout=1) as socket:
                await _say(socket, type="connection_init", payload={"Authorization": f"Bearer {token}"})
                async for _ in _follow(socket, copy):
                    yield copy
                    pause = 0.1
        except ServiceError as error:
            if error.code in RESETS:
                copy.cursor = None
            elif error.code not in TEMPORARY:
                raise
        except (OSError, HTTPException, WebSocketException):
            pass  # the connection broke, and the cursor says where to resume
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 2, 10)


async def _follow(socket: ClientConnection, copy: Copy) -> AsyncIterator[None]:
    """Apply events and progress to a copy, and yield after each once it is up to date.

    Ends where the copy has to be read again.
    """
    is_up_to_date = False
    async for text in socket:
        match json.loads(text):
            case {"type": "connection_ack"}:
                payload = {"query": FOLLOW, "variables": {"after": copy.cursor}}
                await _say(socket, id="follow", type="subscribe", payload=payload)
            case {"type": "next", "payload": {"errors": errors}} | {"type": "error", "payload": errors}:
                raise _refusal(errors)
            case {"type": "next", "payload": {"data": {"accountActivity": event}}}:
                copy.apply(event)
                if copy.cursor is None:
                    return
                is_up_to_date |= event["kind"] == "UP_TO_DATE"
                if is_up_to_date:
                    yield
            case {"type": "ping", "payload": {"cursor": cursor}}:
                await _say(socket, type="pong")
                copy.cursor = cursor
                if is_up_to_date:
                    yield
            case {"type": "ping"}:
                await _say(socket, type="pong")


async def _say(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


def _ask(url: str, token: str | None, name: str, variables: dict[str, Any]) -> dict[str, Any]:
    document = LOGIN if name == "Login" else SNAPSHOT
    body = json.dumps({"query": document, "operationName": name, "variables": variables}).encode()
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    try:
        response = urlopen(Request(url, body, headers))
    except HTTPError as error:
        response = error  # the service says in the body what is wrong
    with response:
        try:
            answer: dict[str, Any] = json.load(response)
        except ValueError as error:
            raise OSError("something before the service has answered") from error
    if "errors" in answer:
        raise _refusal(answer["errors"])
    return dict(answer["data"])


def _refusal(errors: list[dict[str, Any]]) -> ServiceError:
    return ServiceError(errors[0].get("extensions", {}).get("code"), errors[0]["message"])


async def main(url: str, email: str, password: str) -> None:
    """Print the table as a line of JSON whenever it has changed, and otherwise the cursor alone."""

    def log_in() -> str:
        payload = _ask(url, None, "Login", {"email": email, "password": password})["login"]
        if payload["accessToken"] is None:
            raise ServiceError(**payload["userErrors"][0])
        return str(payload["accessToken"])

    def report(trades: int) -> None:
        print(f"{trades} trades read", file=sys.stderr)

    shown = None
    async for copy in keep(url, lambda: asyncio.to_thread(log_in), report):
        table = copy.table()
        line = {"cursor": copy.cursor} if table == shown else {"cursor": copy.cursor, "table": table}
        print(json.dumps(line), flush=True)
        shown = table


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit("usage: account_activity.py URL E-MAIL PASSWORD")
    try:
        asyncio.run(main(*sys.argv[1:]))
    except ServiceError as error:
        raise SystemExit(str(error)) from None
