// graphql-ws: runs one operation and writes each call of its sink as a line.
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [url, query, authorization] = process.argv.slice(2);
const say = (...event) => console.log(JSON.stringify(event));
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  connectionParams: authorization && { Authorization: authorization },
  on: {
    closed: ({ code }) => say("closed", code),
    ping: (received, payload) => received && payload && say("ping", payload),
  },
});
client.subscribe(
  { query },
  {
    next: (result) => say("next", result),
    error: (error) => say("error", Array.isArray(error) ? error : { code: error.code }),
    complete: async () => {
      say("complete");
      await client.dispose();
    },
  },
);
