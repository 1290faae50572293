#!/usr/bin/env bash
# graphql-jit leaves out the fields of a fragment that is spread twice, if the first spread is skipped.
#
# Packages: graphql-jit 0.8.9 with graphql 16.15.0
# One would guess: { t { ...A @skip(if: $brief) ...A } } has A's fields for any $brief: one of the spreads isn't
# skipped. So says the specification (CollectFields skips a spread before it notes the fragment as seen).
# Seen: With $brief true graphql-js answers {"n": 1}, graphql-jit {}, without an error. The plan visits each
# fragment once and keeps the condition of the first spread. Fields written out twice are right.
# Why it matters: mercurius compiles by it with `jit: 1`. Components that each bring their fragment spread the
# same one under several conditions, and a normalising cache keeps the hole.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts graphql-jit@0.8.9 graphql@16.15.0
cat >seen.mjs <<'EOF'
import assert from "node:assert";
import { buildSchema, execute, parse, validate } from "graphql";
import { compileQuery } from "graphql-jit";

const schema = buildSchema("type Query { t: Trade } type Trade { n: Int }");
const rootValue = { t: { n: 1 } };
const variableValues = { brief: true };
const both = async (selection, fragment = "") => {
  const document = parse(`query ($brief: Boolean!) { t { ${selection} } } ${fragment}`);
  assert.deepEqual(validate(schema, document), []);
  const interpreted = await execute({ schema, document, rootValue, variableValues });
  const compiled = await compileQuery(schema, document).query(rootValue, {}, variableValues);
  const answers = [interpreted, compiled].map((result) => JSON.stringify(result));
  console.log(`${selection}: graphql-js ${answers[0]}, graphql-jit ${answers[1]}`);
  return answers;
};
const spreads = await both("...A @skip(if: $brief) ...A", "fragment A on Trade { n }");
assert.deepEqual(spreads, ['{"data":{"t":{"n":1}}}', '{"data":{"t":{}}}']);
assert.deepEqual(await both("n @skip(if: $brief) n"), ['{"data":{"t":{"n":1}}}', '{"data":{"t":{"n":1}}}']);
EOF
node seen.mjs
