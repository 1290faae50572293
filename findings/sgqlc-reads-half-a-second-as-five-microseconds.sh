#!/usr/bin/env bash
# sgqlc reads the fraction of a second as a count of microseconds, and loses the sign of half-hour offsets.
#
# Packages: sgqlc 18
# One would guess: 10:00:00.5Z, 10:00:00.500Z and 10:00:00.500000Z are one moment, as in RFC 3339.
# Seen: DateTime and Time take the digits after the point for a number of microseconds: 5, 500 and 500,000. Only
# six digits are right, and a seventh is an error. An offset of -00:30 becomes +00:30.
# Why it matters: JavaScript prints three digits, PostgreSQL as many as there are: trades of one second change
# their order, by up to a second, and nothing says so.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sgqlc==18
"$work/venv/bin/python" - <<'EOF'
from datetime import timedelta

from sgqlc.types import Field, Type
from sgqlc.types.datetime import DateTime


class Trade(Type):
    time = Field(DateTime)


def read(text):
    return Trade({"time": f"2026-11-28T10:00:00{text}"}).time


for fraction in ("5", "500", "500000"):
    print(f".{fraction} is read as {read(f'.{fraction}Z').microsecond} microseconds")
assert [read(f".{fraction}Z").microsecond for fraction in ("5", "500", "500000")] == [5, 500, 500_000]
offset = read("-00:30").utcoffset()
print(f"-00:30 is read as {offset}")
assert offset == timedelta(minutes=30)
EOF
