// The preset as PostGraphile's documentation has it for production.
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { jsonPgSmartTags } from "postgraphile/utils";
import { makePgService } from "postgraphile/adaptors/pg";

// What PostGraphile can't read from the database: where trades.strategy_id leads, which has no foreign key,
// and which columns without a plain index of their own may be filtered and ordered by all the same.
const tags = jsonPgSmartTags({
  version: 1,
  config: {
    class: {
      trades: { tags: { foreignKey: "(strategy_id) references ai_strategies (id)" } },
    },
    attribute: {
      "trading_sessions.started_at": { tags: { behavior: "+orderBy" } },
      "strategy_performance.timestamp": { tags: { behavior: "+orderBy" } },
      "trades.symbol": { tags: { behavior: "+filterBy" } },
      "ai_strategies.name": { tags: { behavior: "+orderBy" } },
    },
  },
});

export default {
  extends: [PostGraphileAmberPreset],
  plugins: [tags],
  pgServices: [
    makePgService({
      connectionString: process.env.DATABASE_URL,
      schemas: ["public", "postgraphile"],
      poolConfig: { max: 10 },
    }),
  ],
  schema: { defaultBehavior: "list connection" },
  grafserv: { host: "127.0.0.1", port: Number(process.env.PORT), graphiql: false },
  grafast: { explain: false },
};
