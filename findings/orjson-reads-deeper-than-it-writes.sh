#!/usr/bin/env bash
# orjson can't write what it has read.
#
# Packages: orjson 3.13.0
# One would guess: orjson.dumps(orjson.loads(text)) works wherever loads does.
# Seen: loads takes 1,024 levels of nesting, dumps 254: TypeError: Recursion limit reached.
# Why it matters: A service that echoes a client's JSON (the payload of a ping, variables in an error) answers
# valid input with an error of its own.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check orjson==3.13.0
"$work/venv/bin/python" - <<'EOF'
import orjson

for depth in (254, 255, 1024):
    value = orjson.loads("[" * depth + "]" * depth)
    try:
        orjson.dumps(value)
        written = "written"
    except TypeError as error:
        written = str(error)
    print(f"{depth} levels: read, {written}")
    assert (written == "written") == (depth <= 254), written
EOF
