// The preset as PostGraphile's documentation has it for production.
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";
import { jsonPgSmartTags } from "postgraphile/utils";
import { makePgService } from "postgraphile/adaptors/pg";

// trades.strategy_id has no foreign key; a smart tag tells PostGraphile where it leads.
const relations = jsonPgSmartTags({
  version: 1,
  config: {
    class: {
      trades: { tags: { foreignKey: "(strategy_id) references ai_strategies (id)" } },
    },
  },
});

export default {
  extends: [PostGraphileAmberPreset],
  plugins: [relations],
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
