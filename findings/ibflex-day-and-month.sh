#!/usr/bin/env bash
# ibflex reads the 5th of March as the 3rd of May, up to the 12th of each month.
#
# Packages: ibflex 1.1 (Interactive Brokers' Flex reports)
# One would guess: A report in dd/MM/yyyy, a date format that Interactive Brokers offers, is read as such or
# refused.
# Seen: Ten characters with two slashes are always MM/dd/yyyy: 05/03/2024 is the 3rd of May. Only from the
# 13th on is it an error.
# Why it matters: The first days of a month load into other months. A report that happens to end on the 12th
# loads without an error.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ibflex==1.1 requests==2.34.2
"$work/venv/bin/python" - <<'EOF'
from ibflex import parser

REPORT = """<FlexQueryResponse queryName="q" type="AF"><FlexStatements count="1">
<FlexStatement accountId="U1" fromDate="{0}" toDate="{0}" period="" whenGenerated="{0};101500">
</FlexStatement></FlexStatements></FlexQueryResponse>"""


def read(date: str) -> object:
    """The day that a report of that day is said to begin on."""
    return parser.parse(REPORT.format(date).encode()).FlexStatements[0].fromDate


print(f"05/03/2024, of a report in dd/MM/yyyy: {read('05/03/2024')}")
assert str(read("05/03/2024")) == "2024-05-03"
try:
    raise SystemExit(f"13/03/2024 is read now: {read('13/03/2024')}")
except Exception as error:
    print(f"13/03/2024: {type(error).__name__}")
EOF
