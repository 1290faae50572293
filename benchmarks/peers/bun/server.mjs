// graphql-jit on Bun: the cheapest of what is documented for it, Bun's own HTTP server and PostgreSQL client.
import { readFileSync } from "node:fs";
import { buildSchema, parse, validate } from "graphql";
import { compileQuery } from "graphql-jit";
import { rows, sql } from "./database.mjs";
import { Loaders } from "./loaders.mjs";
import { AUDIT, CHANGE, CURRENT, LOCK, STRATEGIES, TRADE, USER } from "./statements.mjs";

const schema = buildSchema(readFileSync(new URL("../mercurius/schema.graphql", import.meta.url), "utf8"));

// The statements of a page, once for each way to filter it: PostgreSQL plans what is really asked.
function pageOf({ first, strategyId, symbol }) {
  const values = [];
  const conditions = [];
  if (strategyId != null) conditions.push(`strategy_id = $${values.push(strategyId)}::text::uuid`);
  if (symbol != null) conditions.push(`symbol = $${values.push(symbol)}`);
  return { first, values, where: conditions.length ? `WHERE ${conditions.join(" AND ")}` : "" };
}

async function updateRiskSettings(_, { accountId, input }) {
  return sql.begin(async (transaction) => {
    await rows(LOCK, [accountId], transaction);
    const [before] = await rows(CURRENT, [accountId], transaction);
    const { maxDailyLoss, maxPositionSize, maxOpenPositions, riskPerTrade } = { ...before, ...input };
    const limits = [maxDailyLoss, maxPositionSize, maxOpenPositions, riskPerTrade];
    const [after] = await rows(CHANGE, [before.id, ...limits], transaction);
    const message = `risk settings updated for account ${accountId}`;
    await rows(AUDIT, [message, JSON.stringify({ before, after })], transaction);
    return after;
  });
}

const toMany = (name) => (row, { first }, loaders) => loaders.load(name, row.id, first);
const toOne = (name, key) => (row, _, loaders) => loaders.load(name, row[key]);

const resolvers = {
  Query: {
    user: async (_, { id }) => (await rows(USER, [id]))[0],
    trades: (_, page) => pageOf(page),
    strategies: (_, { first }) => rows(STRATEGIES, [first]),
  },
  Mutation: { updateRiskSettings },
  TradePage: {
    nodes: ({ first, where, values }) =>
      rows(
        `SELECT ${TRADE} FROM trades ${where} ORDER BY trades.entry_time DESC, id DESC LIMIT $${values.length + 1}`,
        [...values, first],
      ),
    totalCount: async ({ where, values }) =>
      (await rows(`SELECT count(*)::int AS total FROM trades ${where}`, values))[0].total,
  },
  User: { accounts: toMany("accounts") },
  Account: { sessions: toMany("sessions") },
  Session: { trades: toMany("trades"), account: toOne("account", "accountId") },
  Trade: { strategy: toOne("strategy", "strategyId"), session: toOne("session", "sessionId") },
  Strategy: { performance: toMany("performance") },
};
for (const [type, fields] of Object.entries(resolvers)) {
  for (const [name, resolve] of Object.entries(fields)) schema.getType(type).getFields()[name].resolve = resolve;
}

const compiled = new Map();

function compile(text) {
  const document = parse(text);
  const errors = validate(schema, document);
  const query = errors.length ? { errors } : compileQuery(schema, document, undefined, { customJSONSerializer: true });
  compiled.set(text, query);
  return query;
}

const headers = { "content-type": "application/json; charset=utf-8" };

Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT),
  async fetch(request) {
    const { query: text, variables } = await request.json();
    const query = compiled.get(text) ?? compile(text);
    if (!query.query) return Response.json({ errors: query.errors }, { status: 400 });
    const result = await query.query({}, new Loaders(), variables ?? {});
    return new Response(query.stringify(result), { headers });
  },
});
