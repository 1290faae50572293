#!/usr/bin/env bash
# gql's parse_results drops what two fragments select below the same field, but for the last one.
#
# Packages: gql 4.4.0 with graphql-core 3.3.2
# One would guess: With parse_results=True the answer is the server's, with scalars and enums made Python's.
# Seen: Where a field is selected twice, as by two fragments that both select { account }, the server merges
# them, and sends both's fields. gql parses the field once for each selection and keeps the last: the first
# fragment's fields are gone. Without parse_results they are there.
# Why it matters: Each part of a program brings its fragment. To turn Decimals on makes other fields vanish,
# and which ones depends on the order of the fragments.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check gql==4.4.0 graphql-core==3.3.2
"$work/venv/bin/python" - <<'EOF'
from gql import Client, gql
from graphql import GraphQLObjectType, build_schema

schema = build_schema("type Query { trade: Trade } type Trade { account: Account } type Account { id: ID name: String }")
query_type = schema.query_type
assert isinstance(query_type, GraphQLObjectType)
query_type.fields["trade"].resolve = lambda *_: {"account": {"id": "7", "name": "demo"}}
query = gql("""
    { trade { ...Id ...Name } }
    fragment Id on Trade { account { id } }
    fragment Name on Trade { account { name } }
""")
plain = Client(schema=schema).execute(query)
parsed = Client(schema=schema, parse_results=True).execute(query)
print(f"as it came {plain}\nparsed     {parsed}")
assert plain == {"trade": {"account": {"id": "7", "name": "demo"}}}
assert parsed == {"trade": {"account": {"name": "demo"}}}
EOF
