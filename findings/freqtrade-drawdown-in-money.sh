#!/usr/bin/env bash
# freqtrade's largest drawdown in per cent isn't its largest: it is that of the largest sum.
#
# Packages: freqtrade 2026.9
# One would guess: The maximum drawdown in per cent of an account that once lost half of its money is at least
# 50 %.
# Seen: calculate_max_drawdown looks for the largest fall in money and gives the percentage of that one: 500
# of 1,000 lost, then gains of 10,000 and a fall by 570, is 5.4 %. The 50 % are found only with relative=True.
# Why it matters: The longer an account grows, the smaller its worst day looks. Figures of two tools differ by
# a factor of ten, with both 'right'.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check freqtrade==2026.9
"$work/venv/bin/python" - <<'EOF'
import pandas as pd
from freqtrade.data.metrics import calculate_max_drawdown

trades = pd.DataFrame(
    {
        "close_date": pd.date_range("2026-01-01", periods=4, tz="UTC"),
        "profit_abs": [-500.0, 1000.0, 9000.0, -570.0],
    }
)
found = calculate_max_drawdown(trades, starting_balance=1000).relative_account_drawdown
relative = calculate_max_drawdown(trades, starting_balance=1000, relative=True).relative_account_drawdown
print(f"maximum drawdown {found:.1%}; with relative=True {relative:.1%}")
assert (round(found, 4), relative) == (0.0543, 0.5)
EOF
