// graphql-sse, distinct connections: runs one operation and writes each call of its sink as a line.
import { createClient } from "graphql-sse";

const [url, query, authorization] = process.argv.slice(2);
const say = (...event) => console.log(JSON.stringify(event));
const client = createClient({
  url,
  headers: authorization && { authorization },
  retryAttempts: 100,
  retry: () => new Promise((resolve) => setTimeout(resolve, 50)),
  on: { connecting: (again) => again && say("reconnecting") },
});
client.subscribe(
  { query },
  {
    next: (result) => say("next", result),
    error: (error) => say("error", error.message ?? error),
    complete: () => {
      say("complete");
      client.dispose();
    },
  },
);
