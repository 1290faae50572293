#!/usr/bin/env bash
# graphql-jit passes null where a variable that wasn't given stands for an input field with a default.
#
# Packages: graphql-jit 0.8.9 with graphql 16.15.0
# One would guess: order(limits: {maxOpen: $maxOpen}) without $maxOpen is as if the field weren't written: it
# takes its default, 5. So says the specification ("Input Objects", input coercion), and so does graphql-js.
# Seen: The resolver of graphql-jit gets maxOpen: null. Without the variable in the text it gets 5, and an
# argument (rather than a field of an input object) gets its default either way.
# Why it matters: Clients write all variables into a text and leave out what isn't set. Where null means 'no
# limit', a limit is gone, with no error.

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

const schema = buildSchema(`
  type Query { order(limits: Limits, count: Int = 1): String }
  input Limits { maxOpen: Int = 5 }
`);
schema.getQueryType().getFields().order.resolve = (_, args) => JSON.stringify(args);
const both = async (text) => {
  const document = parse(text);
  assert.deepEqual(validate(schema, document), []);
  const interpreted = await execute({ schema, document });
  const compiled = await compileQuery(schema, document).query({}, {}, {});
  console.log(`${text}: graphql-js ${interpreted.data.order}, graphql-jit ${compiled.data.order}`);
  return [interpreted, compiled].map(({ data, errors }) => (assert(!errors), data.order));
};
const [expected, seen] = await both("query ($maxOpen: Int) { order(limits: {maxOpen: $maxOpen}) }");
assert.equal(expected, '{"limits":{"maxOpen":5},"count":1}');
assert.equal(seen, '{"limits":{"maxOpen":null},"count":1}');
const [same, alike] = await both("query ($count: Int) { order(limits: {}, count: $count) }");
assert.equal(same, alike);
EOF
node seen.mjs
