#!/usr/bin/env bash
# graphql-core doesn't know that an input of Strawberry's is a @oneOf one.
#
# Packages: strawberry-graphql 0.341.2, graphql-core 3.3.2
# One would guess: @strawberry.input(one_of=True) makes a type whose is_one_of is true, so that graphql-core
# validates it: graphql.validate() refuses a document that gives two of its fields.
# Seen: The schema prints @oneOf, but is_one_of is false: validate() finds nothing wrong. Strawberry checks
# later, with an error of its own.
# Why it matters: Whatever works on the schema object and not on its text (validation ahead of time, trusted
# documents, a compiler) takes every field for optional.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check strawberry-graphql==0.341.2 graphql-core==3.3.2
"$work/venv/bin/python" - <<'EOF'
import strawberry
from graphql import build_schema, parse, validate


@strawberry.input(one_of=True)
class Either:
    name: strawberry.Maybe[str]
    number: strawberry.Maybe[int]


@strawberry.type
class Query:
    @strawberry.field
    def a(self, either: Either) -> int:
        return 1


schema = strawberry.Schema(Query)
same = build_schema(schema.as_str())
both = parse('{ a(either: { name: "x", number: 1 }) }')
print("errors, of the schema object:", validate(schema._schema, both))
print("errors, of its own text:", [error.message for error in validate(same, both)])
assert "@oneOf" in schema.as_str()
assert validate(schema._schema, both) == []
assert len(validate(same, both)) == 1
EOF
