import { pool, rows } from "./database.mjs";
import { RISK, STRATEGY, TRADE } from "./statements.mjs";

const USER = `SELECT id, email, created_at AS "createdAt" FROM users WHERE id = $1`;
const STRATEGIES = `SELECT ${STRATEGY} FROM ai_strategies ORDER BY name, id LIMIT $1`;

const LOCK = "SELECT id FROM tradelocker_accounts WHERE id = $1 FOR NO KEY UPDATE";
const CURRENT = `SELECT ${RISK} FROM risk_settings WHERE account_id = $1
  ORDER BY coalesce(updated_at, '-infinity') DESC, id DESC LIMIT 1 FOR UPDATE`;
const CHANGE = `UPDATE risk_settings SET max_daily_loss = $2, max_position_size = $3, max_open_positions = $4,
  risk_per_trade = $5, updated_at = greatest(clock_timestamp(), updated_at) WHERE id = $1 RETURNING ${RISK}`;
const AUDIT = "INSERT INTO system_logs (level, component, message, details) VALUES ('INFO', 'risk', $1, $2)";

// The statements of a page, once for each way to filter it: PostgreSQL plans what is really asked.
function pageOf({ strategyId, symbol }) {
  const values = [];
  const conditions = [];
  for (const [column, value] of Object.entries({ strategy_id: strategyId, symbol })) {
    if (value != null) conditions.push(`${column} = $${values.push(value)}`);
  }
  const name = conditions.map((condition) => condition.split(" ")[0]).join(" ");
  return { name, values, where: conditions.length ? `WHERE ${conditions.join(" AND ")}` : "" };
}

async function updateRiskSettings(_, { accountId, input }) {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    await rows("lock", LOCK, [accountId], client);
    const [before] = await rows("current", CURRENT, [accountId], client);
    const wanted = { ...before, ...input };
    const { maxDailyLoss, maxPositionSize, maxOpenPositions, riskPerTrade } = wanted;
    const limits = [maxDailyLoss, maxPositionSize, maxOpenPositions, riskPerTrade];
    const [after] = await rows("change", CHANGE, [before.id, ...limits], client);
    const message = `risk settings updated for account ${accountId}`;
    await rows("audit", AUDIT, [message, { before, after }], client);
    await client.query("COMMIT");
    return after;
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  } finally {
    client.release();
  }
}

export const resolvers = {
  Query: {
    user: async (_, { id }) => (await rows("user", USER, [id]))[0],
    trades: (_, { first, ...filter }) => ({ first, ...pageOf(filter) }),
    strategies: (_, { first }) => rows("strategies", STRATEGIES, [first]),
  },
  TradePage: {
    nodes: ({ first, name, where, values }) =>
      rows(
        `page ${name}`,
        `SELECT ${TRADE} FROM trades ${where} ORDER BY entry_time DESC, id DESC LIMIT $${values.length + 1}`,
        [...values, first],
      ),
    totalCount: async ({ name, where, values }) =>
      (await rows(`total ${name}`, `SELECT count(*)::int AS total FROM trades ${where}`, values))[0].total,
  },
  Mutation: { updateRiskSettings },
  Subscription: {
    systemLogAdded: { subscribe: (_, __, { pubsub }) => pubsub.subscribe("SYSTEM_LOG_ADDED") },
    tradeChanged: { subscribe: (_, { accountId }, { pubsub }) => pubsub.subscribe(`TRADE_CHANGED ${accountId}`) },
  },
};
