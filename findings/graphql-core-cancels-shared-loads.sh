#!/usr/bin/env bash
# A field that fails cancels a batch that other fields wait for, and execute() raises CancelledError.
#
# Packages: graphql-core 3.3.2, aiodataloader 0.4.3
# One would guess: An error in one field is that field's: `good` has its data, `bad` is null, and execute()
# returns both.
# Seen: Since 3.3 graphql-core cancels the siblings of a non-null field that fails. If one of them waits for a
# DataLoader's future, that future, which is everybody's, is cancelled; CancelledError is no Exception, passes
# every handler of fields, and comes out of execute().
# Why it matters: One resolver's ordinary error ends the whole request without an answer. Loads have to be
# shielded (asyncio.shield), and cancelled keys dropped from the loader's cache.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check graphql-core==3.3.2 aiodataloader==0.4.3
"$work/venv/bin/python" - <<'EOF'
import asyncio

from aiodataloader import DataLoader
from graphql import GraphQLField, GraphQLNonNull, GraphQLObjectType, GraphQLSchema, GraphQLString, execute, parse


async def main() -> None:
    async def batch(keys: list[int]) -> list[str]:
        await asyncio.sleep(0.05)
        return [f"name {key}" for key in keys]

    loader = DataLoader(batch)

    async def name(*_: object) -> str:
        return await loader.load(1)

    async def fail(*_: object) -> str:
        await asyncio.sleep(0.01)
        raise ValueError("this field's own")

    good = GraphQLObjectType("Good", {"name": GraphQLField(GraphQLString, resolve=name)})
    bad = GraphQLObjectType(
        "Bad",
        {
            "name": GraphQLField(GraphQLString, resolve=name),
            "must": GraphQLField(GraphQLNonNull(GraphQLString), resolve=fail),
        },
    )
    fields = {"bad": GraphQLField(bad, resolve=lambda *_: {}), "good": GraphQLField(good, resolve=lambda *_: {})}
    schema = GraphQLSchema(GraphQLObjectType("Query", fields))
    try:
        result = await execute(schema, parse("{ bad { name must } good { name } }"))
    except asyncio.CancelledError:
        print("execute() raised CancelledError")
    else:
        raise SystemExit(f"execute() returned {result}")


asyncio.run(main())
EOF
