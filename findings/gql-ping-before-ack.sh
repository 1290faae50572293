#!/usr/bin/env bash
# The Python client gql gives up when a server pings before it acknowledges.
#
# Packages: gql 4.4.0, websockets 17.4
# One would guess: graphql-transport-ws says that a ping can be sent at any time within the established
# socket: the client answers, and waits for the ack.
# Seen: TransportProtocolError: Websocket server did not return a connection ack.
# Why it matters: A server that keeps connections alive while it looks a token up locks these clients out, and
# under load only.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check gql==4.4.0 websockets==17.4
"$work/venv/bin/python" - <<'EOF'
import asyncio

from gql import Client
from gql.transport.exceptions import TransportProtocolError
from gql.transport.websockets import WebsocketsTransport
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


async def handler(socket: ServerConnection) -> None:
    await socket.recv()
    await socket.send('{"type":"ping"}')
    await socket.send('{"type":"connection_ack"}')
    try:
        async for _ in socket:
            pass
    except ConnectionClosed:
        pass


async def main() -> None:
    async with serve(handler, "127.0.0.1", 0, subprotocols=["graphql-transport-ws"]) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        transport = WebsocketsTransport(url=url, subprotocols=["graphql-transport-ws"])
        try:
            async with Client(transport=transport):
                raise SystemExit("it connects now")
        except TransportProtocolError as error:
            print(f"TransportProtocolError: {error}")


asyncio.run(main())
EOF
