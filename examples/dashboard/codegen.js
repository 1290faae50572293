// Types of the operations in src/, and of the schema's scalars: numbers that are money are texts.
export default {
  schema: "../../schema.graphql",
  documents: ["src/**/*.tsx", "src/**/*.ts"],
  generates: {
    "src/gql/": {
      preset: "client",
      presetConfig: { fragmentMasking: false },
      config: {
        strictScalars: true,
        useTypeImports: true,
        scalars: { DateTime: "string", Decimal: "string", Duration: "string", JSON: "unknown" },
      },
    },
  },
};
