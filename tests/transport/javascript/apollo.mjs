// Apollo Client: a query, a mutation and an error by HTTP, a subscription by WebSocket.
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { OperationTypeNode } from "graphql";
import { createClient } from "graphql-ws";
import WebSocket from "ws";

const [http, ws] = process.argv.slice(2);
const socket = createClient({ url: ws, webSocketImpl: WebSocket });
const client = new ApolloClient({
  cache: new InMemoryCache(),
  link: ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(socket),
    new HttpLink({ uri: http, headers: { authorization: "Bearer ada" } }),
  ),
});
const say = (...event) => console.log(JSON.stringify(event));

say("query", (await client.query({ query: gql`{ whoami }` })).data);
say("mutation", (await client.mutate({ mutation: gql`mutation { write }` })).data);
await client.query({ query: gql`{ refused }` }).catch((error) => say("error", error.errors[0].extensions));
client.subscribe({ query: gql`subscription { count(to: 2) }` }).subscribe({
  next: ({ data }) => say("next", data),
  complete: async () => {
    say("complete");
    await socket.dispose();
  },
});
