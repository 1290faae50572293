/** Apollo Client as docs/clients.md has it, with a cache that outlives a reload of its tab, as the tokens do. */
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client";
import { SetContextLink } from "@apollo/client/link/context";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { OperationTypeNode } from "graphql";
import { type Client, createClient } from "graphql-ws";

import { distrust, isSignedIn, token, url } from "./session.ts";

const STORED = "dashboard:cache";
const MERGED = ["AccountConnection", "SessionConnection", "TradeConnection", "TradeStats", "RiskStatus"];

export const connection = new EventTarget();

const cache = new InMemoryCache({
  possibleTypes: { Node: ["Account", "RiskSettings", "Session", "Trade"] },
  typePolicies: {
    Viewer: { keyFields: [] },
    ...Object.fromEntries(MERGED.map((type) => [type, { merge: true }])),
  },
});

const authorization = new SetContextLink(async ({ headers }) => ({
  headers: { ...headers, authorization: `Bearer ${await token()}` },
}));

export const client = new ApolloClient({
  cache: cache.restore(JSON.parse(sessionStorage.getItem(STORED) ?? "{}")),
  link: ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(resuming(socket())),
    authorization.concat(new HttpLink({ uri: url })),
  ),
});

addEventListener("visibilitychange", () => {
  if (isSignedIn()) { // else the page is left by signing out, and nothing is to stay
    sessionStorage.setItem(STORED, JSON.stringify(cache.extract()));
  }
});

function socket(): Client {
  let open: WebSocket | undefined;
  return createClient({
    url: url.replace(/^http/, "ws"),
    connectionParams: async () => ({ Authorization: `Bearer ${await token()}` }),
    shouldRetry: () => true,
    retryAttempts: Infinity,
    retryWait: (retries) => new Promise((resolve) => setTimeout(resolve, Math.min(500 * 2 ** retries, 10_000))),
    on: {
      connected: (connected) => {
        open = connected as WebSocket;
        connection.dispatchEvent(new Event("online"));
      },
      closed: (event) => {
        if ((event as CloseEvent).code === 4403) {
          distrust();
        }
        connection.dispatchEvent(new Event("offline"));
      },
      ping: async (received, payload) => {
        if (received && payload?.tokenExpiresAt) {
          const newer = { Authorization: `Bearer ${await token()}` };
          open?.send(JSON.stringify({ type: "ping", payload: newer }));
        }
      },
    },
  });
}

/** The same client, whose subscriptions go on after the cursor of their last event. */
function resuming(original: Client): Client {
  return {
    ...original,
    subscribe(payload, sink) {
      const variables: Record<string, unknown> = { ...payload.variables };
      return original.subscribe({ ...payload, variables }, {
        ...sink,
        next(result) {
          const [event] = Object.values(result.data ?? {}) as { cursor?: string }[];
          if (event?.cursor) {
            Object.assign(variables, { after: event.cursor, backfill: 0 });
          }
          sink.next(result as never);
        },
      });
    },
  };
}
