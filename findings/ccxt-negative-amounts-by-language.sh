#!/usr/bin/env bash
# ccxt's exact arithmetic gives other results below zero in Python than in JavaScript.
#
# Packages: ccxt 4.5.90 from PyPI and 4.5.84 from npm
# One would guess: Precise, which bots use in place of floats, is one source in several languages, so a sum
# checked by one is what the other says.
# Seen: JavaScript's integers are cut towards zero, Python's towards minus infinity. The remainder of -5 by 3
# is -2 in one and 1 in the other; -1.239 / 1 to two decimals is -1.23 and -1.24. Above zero they agree. (The
# Python of it corrects the division's own result, but not the digits that it cuts from the dividend before.)
# Why it matters: A bot in Python and a dashboard in JavaScript differ by a cent in losses alone.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check ccxt==4.5.90
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts ccxt@4.5.84
python=$(venv/bin/python - <<'EOF'
from ccxt.base.precise import Precise

for sign in ("", "-"):
    print(Precise.string_mod(sign + "5", "3"), Precise.string_div(sign + "1.239", "1", 2))
EOF
)
cat >seen.mjs <<'EOF'
import ccxt from "ccxt";

for (const sign of ["", "-"]) {
  console.log(ccxt.Precise.stringMod(`${sign}5`, "3"), ccxt.Precise.stringDiv(`${sign}1.239`, "1", 2));
}
EOF
javascript=$(node seen.mjs)
printf '5 mod 3 and 1.239 / 1, then with a minus\nPython:\n%s\nJavaScript:\n%s\n' "$python" "$javascript"
[ "$python" = $'2 1.23\n1 -1.24' ]
[ "$javascript" = $'2 1.23\n-2 -1.23' ]
