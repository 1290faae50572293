import { readFileSync } from "node:fs";
import Fastify from "fastify";
import mercurius from "mercurius";
import { listen } from "./database.mjs";
import { loaders } from "./loaders.mjs";
import { resolvers } from "./resolvers.mjs";

const app = Fastify();
await app.register(mercurius, {
  schema: readFileSync(new URL("schema.graphql", import.meta.url), "utf8"),
  resolvers,
  loaders,
  jit: 1,
  subscription: true,
});
await app.ready();

const { pubsub } = app.graphql;
await listen("log_added", (systemLogAdded) =>
  pubsub.publish({ topic: "SYSTEM_LOG_ADDED", payload: { systemLogAdded } }),
);
await listen("trade_changed", ({ accountId, tradeChanged }) =>
  pubsub.publish({ topic: `TRADE_CHANGED ${accountId}`, payload: { tradeChanged } }),
);
await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
