#!/usr/bin/env bash
# Closing a websockets client takes its whole close_timeout while messages are unread.
#
# Packages: websockets 17.4
# One would guess: close() sends a close frame, the server answers, and the client returns at once with code
# 1000.
# Seen: With a couple of dozen messages waiting, the client has stopped reading from the network, and doesn't
# read the answer either: close() waits for close_timeout (10 s by default), and then reports 1006.
# Why it matters: A follower of a busy feed that reconnects is away for ten seconds. Give close_timeout=1, or
# drain first.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check websockets==17.4
"$work/venv/bin/python" - <<'EOF'
import asyncio
import time

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve


async def handler(socket: ServerConnection) -> None:
    for number in range(40):
        await socket.send(str(number))
    await socket.wait_closed()


async def close_with(unread: int, port: int) -> tuple[float, int | None]:
    socket = await connect(f"ws://127.0.0.1:{port}", close_timeout=3)
    for _ in range(40 - unread):
        await socket.recv()
    await asyncio.sleep(0.3)  # for the rest to arrive
    began = time.monotonic()
    await socket.close()
    return time.monotonic() - began, socket.close_code


async def main() -> None:
    async with serve(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for unread, slow, expected in ((5, False, 1000), (40, True, 1006)):
            took, code = await close_with(unread, port)
            print(f"{unread} unread: closed in {took:.1f} s with {code}")
            assert ((took > 2.5), code) == (slow, expected)


asyncio.run(main())
EOF
