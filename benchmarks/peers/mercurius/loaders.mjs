// One loader for each relation; each is one statement for all objects of a level.
import { rows } from "./database.mjs";
import { ACCOUNT, PERFORMANCE, SESSION, STRATEGY, TRADE, byId, children } from "./statements.mjs";

// Without mercurius's own cache of loaded objects, whose keys cost more than they save.
const opts = { cache: false };

// A batch has one page size: nobody asks for two pages of one relation here.
function toMany(name, text) {
  return {
    opts,
    async loader(queries) {
      const ids = queries.map(({ obj }) => obj.id);
      const found = new Map(ids.map((id) => [id, []]));
      for (const row of await rows(name, text, [ids, queries[0].params.first])) {
        found.get(row.parentId).push(row);
      }
      return ids.map((id) => found.get(id));
    },
  };
}

function toOne(name, text, key) {
  return {
    opts,
    async loader(queries) {
      const ids = [...new Set(queries.map(({ obj }) => obj[key]))];
      const found = new Map((await rows(name, text, [ids])).map((row) => [row.id, row]));
      return queries.map(({ obj }) => found.get(obj[key]) ?? null);
    },
  };
}

export const loaders = {
  User: {
    accounts: toMany("accounts", children(ACCOUNT, "tradelocker_accounts", "user_id", "account_number")),
  },
  Account: {
    sessions: toMany("sessions", children(SESSION, "trading_sessions", "account_id", "started_at DESC, id DESC")),
  },
  Session: {
    trades: toMany("trades", children(TRADE, "trades", "session_id", "entry_time DESC, id DESC")),
    account: toOne("account", byId(ACCOUNT, "tradelocker_accounts"), "accountId"),
  },
  Trade: {
    strategy: toOne("strategy", byId(STRATEGY, "ai_strategies"), "strategyId"),
    session: toOne("session", byId(SESSION, "trading_sessions"), "sessionId"),
  },
  Strategy: {
    performance: toMany(
      "performance",
      children(PERFORMANCE, "strategy_performance", "strategy_id", "timestamp DESC, id DESC"),
    ),
  },
};
