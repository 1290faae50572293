#!/usr/bin/env bash
# In a subscription, a data loader in Strawberry's context gives the first event's data for ever.
#
# Packages: strawberry-graphql 0.341.2, starlette 1.10.0
# One would guess: get_context runs for each operation, as over HTTP, so that a loader made there forgets
# between operations and, in a subscription, between events.
# Seen: It runs once for a WebSocket connection. The loader caches for as long as the socket is open: every
# event, and every later subscription on the socket, has the value of the first.
# Why it matters: What is right over HTTP (loaders in get_context) shows stale data over WebSockets.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check strawberry-graphql==0.341.2 starlette==1.10.0 httpx==0.28.1
"$work/venv/bin/python" - <<'EOF'
import warnings
from collections.abc import AsyncGenerator

warnings.simplefilter("ignore")
import strawberry
from starlette.testclient import TestClient
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader

price = 0


async def load(keys: list[str]) -> list[int]:
    return [price for _ in keys]


@strawberry.type
class Query:
    x: int = 1


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def prices(self, info: strawberry.Info) -> AsyncGenerator[int, None]:
        global price
        for _ in range(3):
            price += 1
            yield await info.context["prices"].load("EURUSD")


class App(GraphQL):
    async def get_context(self, request: object, response: object) -> dict[str, object]:
        return {"prices": DataLoader(load)}


seen = []
app = App(strawberry.Schema(Query, subscription=Subscription))
with TestClient(app).websocket_connect("/", ["graphql-transport-ws"]) as socket:
    socket.send_json({"type": "connection_init"})
    socket.receive_json()
    for name in ("first", "second"):
        socket.send_json({"id": name, "type": "subscribe", "payload": {"query": "subscription { prices }"}})
        while (message := socket.receive_json())["type"] == "next":
            seen.append(message["payload"]["data"]["prices"])
print(f"six events with prices 1 to 6; seen: {seen}")
assert seen == [1, 1, 1, 1, 1, 1]
EOF
