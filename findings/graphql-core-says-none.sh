#!/usr/bin/env bash
# graphql-core tells clients that their null must not be None.
#
# Packages: graphql-core 3.3.2
# One would guess: Messages to clients are in GraphQL's words, as those of GraphQL.js are: null.
# Seen: Python's None is in the messages of validation and of variables.
# Why it matters: Clients that aren't written in Python show these texts to people who have never seen the
# word; tests of messages that pass against GraphQL.js fail.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check graphql-core==3.3.2
"$work/venv/bin/python" - <<'EOF'
from graphql import build_schema, parse, validate
from graphql.execution.values import get_variable_values

schema = build_schema("type Query { a(n: [Int!]): Int, b(n: Int!): Int }")
[error] = validate(schema, parse("{ a(n: [null]) }"))
print(error.message)
assert error.message.endswith("not to be None.")

definitions = parse("query ($n: Int!) { b(n: $n) }").definitions[0].variable_definitions
[error] = get_variable_values(schema, definitions, {"n": None})
print(error.message)
assert error.message.endswith("not to be None.")
EOF
