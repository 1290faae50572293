// Follows the log with a client of docs/clients.md, and says each line, and when its token was renewed.
import WebSocket from "ws";
import { apolloOf } from "./page/apollo.js";
import { relayOf } from "./page/relay.js";
import { socketOf } from "./page/socket.js";
import { tokensOf } from "./page/tokens.js";
import { urqlOf } from "./page/urql.js";

const [client, url, email, password] = process.argv.slice(2);
const say = (...event) => console.log(JSON.stringify(event));

const LOGIN = `mutation ($email: String!, $password: String!) {
  login(email: $email, password: $password) { accessToken refreshToken expiresAt }
}`;
const FOLLOW = `subscription Follow($after: String, $backfill: Int!) {
  systemLogAdded(after: $after, backfill: $backfill) { cursor log { id message } }
}`;
const ROLES = "query Roles { viewer { roles } }";

async function login() {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query: LOGIN, variables: { email, password } }),
  });
  return (await response.json()).data.login;
}

const token = tokensOf(url, await login());
const socket = socketOf(url, token, {
  webSocketImpl: WebSocket,
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 100)),
  on: {
    pong: (received, payload) => received && payload && say("pong", payload),
    message: ({ type, payload }) => type === "ping" && payload?.cursor && say("listening"),
  },
});
const variables = { after: null, backfill: 0 };
const line = ({ data }) => data && say("line", data.systemLogAdded.log.message);

const clients = {
  async apollo() {
    const { gql } = await import("@apollo/client");
    const apollo = apolloOf(url, token, socket);
    say("roles", (await apollo.query({ query: gql(ROLES) })).data.viewer.roles);
    apollo.subscribe({ query: gql(FOLLOW), variables }).subscribe({ next: line });
  },
  async urql() {
    const urql = urqlOf(url, token, socket);
    say("roles", (await urql.query(ROLES, {}).toPromise()).data.viewer.roles);
    urql.subscription(FOLLOW, variables).subscribe(line);
  },
  async relay() {
    const network = relayOf(url, token, socket).getNetwork();
    const run = (text, operationKind, given) =>
      network.execute({ text, operationKind, id: null, name: "", metadata: {} }, given, {});
    say("roles", (await run(ROLES, "query", {}).toPromise()).data.viewer.roles);
    run(FOLLOW, "subscription", variables).subscribe({ next: line });
  },
  async "graphql-ws"() {
    await new Promise((complete, error) =>
      socket.subscribe(
        { query: ROLES },
        { next: ({ data }) => say("roles", data.viewer.roles), error, complete },
      ),
    );
    socket.subscribe({ query: FOLLOW, variables }, { next: line, error: console.error, complete() {} });
  },
};
await clients[client]();
