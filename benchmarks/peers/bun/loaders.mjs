// One DataLoader for each relation and request; each batch is one statement.
import DataLoader from "dataloader";
import { rows } from "./database.mjs";
import { ACCOUNT, PERFORMANCE, SESSION, TRADE, byId, children } from "./statements.mjs";

const array = (ids) => `{${ids.join(",")}}`;

function toMany(text) {
  return (first) =>
    new DataLoader(
      async (ids) => {
        const found = new Map(ids.map((id) => [id, []]));
        for (const row of await rows(text, [array(ids), first])) found.get(row.parentId).push(row);
        return ids.map((id) => found.get(id));
      },
      { maxBatchSize: Infinity },
    );
}

function toOne(text) {
  return () =>
    new DataLoader(async (ids) => {
      const found = new Map((await rows(text, [array(ids)])).map((row) => [row.id, row]));
      return ids.map((id) => found.get(id) ?? null);
    });
}

const relations = {
  accounts: toMany(children(ACCOUNT, "tradelocker_accounts", "user_id", "account_number")),
  sessions: toMany(children(SESSION, "trading_sessions", "account_id", "started_at DESC, id DESC")),
  trades: toMany(children(TRADE, "trades", "session_id", "entry_time DESC, id DESC")),
  performance: toMany(
    children(PERFORMANCE, "strategy_performance", "strategy_id", '"timestamp" DESC, id DESC'),
  ),
  account: toOne(byId(ACCOUNT, "tradelocker_accounts")),
  strategy: toOne(byId("id, name", "ai_strategies")),
  session: toOne(byId(SESSION, "trading_sessions")),
};

// A request has one page size for each relation: nobody asks for two here.
export class Loaders {
  #loaders = {};

  load(name, id, first) {
    return id == null ? null : (this.#loaders[name] ??= relations[name](first)).load(id);
  }
}
