#!/usr/bin/env bash
# uvicorn's keep-alive closes a socket with a code after which graphql-ws never comes back.
#
# Packages: uvicorn 0.54.0 (websockets 17.4), graphql-ws 6.4.2 with ws 8.23.0
# One would guess: A client that was asleep for a minute (a laptop's lid, a debugger) reconnects: it is
# configured to retry.
# Seen: uvicorn closes with 1011 ('internal error') when a pong is late. graphql-ws takes 1011 for a fatal
# error of the server and ends the subscription for good, whatever retryAttempts says.
# Why it matters: Live pages stay dead after a pause. A server has to answer late pongs with a code that
# clients come back after.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check uvicorn==0.54.0 websockets==17.4
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts graphql-ws@6.4.2 graphql@16.15.0 ws@8.23.0
cat >app.py <<'EOF'
import socket

import uvicorn


async def app(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept", "subprotocol": "graphql-transport-ws"})
    while (message := await receive())["type"] != "websocket.disconnect":
        if "connection_init" in message["text"]:
            await send({"type": "websocket.send", "text": '{"type":"connection_ack"}'})


listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
config = uvicorn.Config(app, lifespan="off", ws_ping_interval=0.3, ws_ping_timeout=0.3, log_level="error")
uvicorn.Server(config).run(sockets=[listening])
EOF
coproc SERVER { exec "$work/venv/bin/python" app.py; }
trap 'kill "$SERVER_PID"; wait || true; rm -rf "$work"' EXIT
read -r port <&"${SERVER[0]}"
cat >seen.mjs <<'EOF'
import assert from "node:assert";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

let opened = 0;
let code;
const client = createClient({
  url: `ws://127.0.0.1:${process.argv[2]}/`,
  webSocketImpl: WebSocket,
  retryAttempts: 5,
  on: {
    opened() {
      opened += 1;
      setTimeout(() => {
        const end = Date.now() + 2000; // asleep
        while (Date.now() < end);
      }, 200);
    },
    closed: (event) => (code = event.code),
  },
});
const ended = await new Promise((resolve) => {
  const sink = { next() {}, error: () => resolve("error"), complete: () => resolve("complete") };
  client.subscribe({ query: "subscription { x }" }, sink);
});
console.log(`closed with ${code}, ended with: ${ended}, connected ${opened} time(s)`);
assert.deepEqual([code, ended, opened], [1011, "error", 1]);
process.exit();
EOF
node seen.mjs "$port"
