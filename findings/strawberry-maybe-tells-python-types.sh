#!/usr/bin/env bash
# Strawberry's message about a null tells clients Python's types, and how to write the server.
#
# Packages: strawberry-graphql 0.341.2
# One would guess: A client that sends null for an input field that takes none reads GraphQL's names: String,
# null.
# Seen: Expected value of type 'str', found null. Field 'note' of type 'Maybe[str]' cannot be explicitly set
# to null. Use 'Maybe[str | None]' if you need to allow null values.
# Why it matters: The text goes to users of an API who can't change the server and don't know what Maybe is.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check strawberry-graphql==0.341.2
"$work/venv/bin/python" - <<'EOF'
import strawberry


@strawberry.input
class Patch:
    note: strawberry.Maybe[str]


@strawberry.type
class Query:
    @strawberry.field
    def a(self, patch: Patch) -> int:
        return 1


result = strawberry.Schema(Query).execute_sync("{ a(patch: { note: null }) }")
[error] = result.errors
print(error.message)
assert "'str'" in error.message and "Maybe[str | None]" in error.message
EOF
