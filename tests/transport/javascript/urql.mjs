// urql: a query, a mutation and an error by HTTP, a subscription by WebSocket.
import { Client, fetchExchange, subscriptionExchange } from "@urql/core";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [http, ws] = process.argv.slice(2);
const socket = createClient({ url: ws, webSocketImpl: WebSocket });
const client = new Client({
  url: http,
  preferGetMethod: false,
  fetchOptions: { headers: { authorization: "Bearer ada" } },
  exchanges: [
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query, variables }) => ({
        subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
      }),
    }),
  ],
});
const say = (...event) => console.log(JSON.stringify(event));

say("query", (await client.query("{ whoami }", {}).toPromise()).data);
say("mutation", (await client.mutation("mutation { write }", {}).toPromise()).data);
say("error", (await client.query("{ refused }", {}).toPromise()).error.graphQLErrors[0].extensions);
client.subscription("subscription { count(to: 2) }", {}).subscribe(({ data, hasNext }) => {
  if (hasNext) return say("next", data);
  say("complete"); // urql repeats the last result to say that there is no more
  socket.dispose();
});
