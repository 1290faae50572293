#!/usr/bin/env bash
# graphql-ws comes back after a close with 1000 at once and without counting its attempts.
#
# Packages: graphql-ws 6.4.2 with ws 8.23.0
# One would guess: retryAttempts: 2 and a retryWait of a second bound how often a client reconnects.
# Seen: After 1000 ('normal closure') with a subscription open neither is asked: hundreds of connections a
# second, for ever. Yet a refused connection (no server) ends the subscription at the first attempt.
# Why it matters: A server that ends its sockets politely, with 1000, is flooded by its own clients; one that
# is restarting loses them.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts graphql-ws@6.4.2 graphql@16.15.0 ws@8.23.0
cat >seen.mjs <<'EOF'
import assert from "node:assert";
import { createClient } from "graphql-ws";
import WebSocket, { WebSocketServer } from "ws";

const sleep = (milliseconds) => new Promise((wake) => setTimeout(wake, milliseconds));
const options = { webSocketImpl: WebSocket, retryAttempts: 2, retryWait: () => sleep(1000) };

let connections = 0;
const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
server.on("connection", (socket) => {
  connections += 1;
  socket.on("message", (text) => {
    if (JSON.parse(text).type === "connection_init") socket.send('{"type":"connection_ack"}');
    else socket.close(1000);
  });
});
await new Promise((ready) => server.once("listening", ready));
const polite = createClient({ ...options, url: `ws://127.0.0.1:${server.address().port}/` });
let ended = false;
const sink = { next() {}, error: () => (ended = true), complete: () => (ended = true) };
polite.subscribe({ query: "subscription { x }" }, sink);
await sleep(2000);
console.log(`closed with 1000 each time: ${connections} connections in 2 s`);
assert(connections > 20 && !ended);

let attempts = 0;
const lonely = createClient({ ...options, url: "ws://127.0.0.1:1/", on: { connecting: () => (attempts += 1) } });
await new Promise((over) => {
  lonely.subscribe({ query: "subscription { x }" }, { next() {}, error: over, complete: over });
});
console.log(`connection refused: given up after ${attempts} attempt(s)`);
assert.equal(attempts, 1);
process.exit();
EOF
node seen.mjs
