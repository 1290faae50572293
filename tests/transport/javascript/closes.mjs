// graphql-ws with its default choice of what to retry: follows one subscription, misbehaves once in the way that
// it is told to, and writes what its sink and its listeners are told, a line each. Told that it "waits", it comes back
// once something is written to its standard input.
import { once } from "node:events";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [url, query, misbehaviour] = process.argv.slice(2);
const say = (...event) => console.log(JSON.stringify(event));
const send = (socket, message) => socket.send(JSON.stringify(message));
const subscribe = { id: "twice", type: "subscribe", payload: { query } };

const onceOpened = {
  "subscribes early": (socket) => send(socket, subscribe),
};
const onceConnected = {
  "talks nonsense": (socket) => socket.send("nonsense"),
  "nests deeply": (socket) => socket.send(`{"type":"ping","payload":${"[".repeat(300)}${"]".repeat(300)}}`),
  "repeats an id": (socket) => [subscribe, subscribe].forEach((message) => send(socket, message)),
  "initialises twice": (socket) => send(socket, { type: "connection_init" }),
  "sends too much": (socket) => socket.send("x".repeat(2 * 1024 * 1024)),
  "breaks the framing": (socket) => socket._socket.write(Buffer.from([0x83, 0x80, 0, 0, 0, 0])),
  "breaks the encoding": (socket) => socket._socket.write(Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0xff])),
};

let connections = 0;
const atFirst = (action, socket) => connections === 1 && action?.(socket);

class Impl extends WebSocket {
  constructor(address, protocol) {
    super(address, misbehaviour === "speaks otherwise" ? "another-protocol" : protocol);
    connections += 1;
  }
}

createClient({
  url,
  webSocketImpl: Impl,
  connectionParams: () => {
    if (misbehaviour === "says nothing" && connections === 1) return new Promise(() => {});
    return { Authorization: "Bearer ada" };
  },
  retryAttempts: 1000,
  retryWait: () =>
    misbehaviour === "waits"
      ? once(process.stdin, "data")
      : new Promise((resolve) => setTimeout(resolve, 20)),
  on: {
    opened: (socket) => atFirst(onceOpened[misbehaviour], socket),
    connected: (socket) => atFirst(onceConnected[misbehaviour], socket),
    closed: ({ code, reason }) => say("closed", code, reason),
  },
}).subscribe(
  { query },
  {
    next: (result) => say("next", result),
    error: (error) => say("gave up", error.code ?? error.message),
    complete: () => say("complete"),
  },
);
