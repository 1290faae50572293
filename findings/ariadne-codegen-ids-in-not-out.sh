#!/usr/bin/env bash
# ariadne-codegen maps the scalar ID where it is sent, and not where it comes back.
#
# Packages: ariadne-codegen 0.19.0
# One would guess: [tool.ariadne-codegen.scalars.ID] with type = "uuid.UUID" types ids everywhere, as the same lines do
# for a scalar of the schema's own.
# Seen: An operation's arguments take UUID, its results have str. A scalar of the schema's own is Decimal in both.
# Why it matters: An id that was read doesn't type as the argument of the next call, and never equals the UUID of a
# database: such a comparison is False, without an error.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ariadne-codegen==0.19.0
cd "$work"
cat >schema.graphql <<'EOF'
scalar Price
type Query { trade(id: ID!, above: Price!): Trade }
type Trade { id: ID! price: Price! }
EOF
cat >queries.graphql <<'EOF'
query OneTrade($id: ID!, $above: Price!) { trade(id: $id, above: $above) { id price } }
EOF
cat >pyproject.toml <<'EOF'
[tool.ariadne-codegen]
schema_path = "schema.graphql"
queries_path = "queries.graphql"

[tool.ariadne-codegen.scalars.ID]
type = "uuid.UUID"

[tool.ariadne-codegen.scalars.Price]
type = "decimal.Decimal"
EOF
venv/bin/ariadne-codegen >generated.log
venv/bin/python - <<'EOF'
from inspect import get_annotations
from typing import get_type_hints

from graphql_client import Client
from graphql_client.one_trade import OneTradeTrade

sent = get_annotations(Client.one_trade)
read = get_type_hints(OneTradeTrade)
print("id, sent:", sent["id"], " read:", read["id"])
print("price, sent:", sent["above"], " read:", read["price"])
if sent["id"] == read["id"] or sent["above"] != read["price"]:
    raise SystemExit("the behaviour has changed")
EOF
