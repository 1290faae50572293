// graphql-eslint's recommended rules of schemas and its rules of Relay. Each opt-out has its reason.
import graphql from "@graphql-eslint/eslint-plugin";

export default [
  {
    files: ["**/*.graphql"],
    languageOptions: { parser: graphql.parser, parserOptions: { graphQLConfig: { schema: "schema.graphql" } } },
    plugins: { "@graphql-eslint": graphql },
    rules: {
      ...graphql.configs["flat/schema-recommended"].rules,
      ...graphql.configs["flat/schema-relay"].rules,
      "@graphql-eslint/strict-id-in-types": [
        "error",
        {
          exceptions: {
            // Parts of a list, of an answer or of a stream: no rows, and kept within what has them.
            suffixes: ["Connection", "Edge", "Payload", "Event", "Activity", "Change", "Bucket"],
            types: [
              // Computed from rows for each query: an id would say that two results are the same object.
              "EquityPoint", "RiskStatus", "StatusCount", "StrategyStats", "SymbolExposure", "SymbolStats", "TradeStats",
              // A view whose rows have no key of their own; `session` and `account` have theirs.
              "AccountPerformance",
              // Values of a change, as they were.
              "RiskLimits",
              // The viewer of the request: there is one.
              "Viewer",
              "PageInfo", "UserError",
            ],
          },
        },
      ],
      // accountNumber is what the platform's column, and every broker, calls it.
      "@graphql-eslint/no-typename-prefix": "off",
      "@graphql-eslint/relay-edge-types": [
        "error",
        {
          // `nodes` beside `edges`, as GitHub and Shopify have it; and lists of computed rows, which have no pages.
          listTypeCanWrapOnlyEdgeType: false,
        },
      ],
    },
  },
];
