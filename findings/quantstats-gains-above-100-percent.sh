#!/usr/bin/env bash
# quantstats takes returns for prices if none is negative and one is above 100 %.
#
# Packages: quantstats 0.0.86
# One would guess: stats.win_rate of a series of returns that are all gains is 1.
# Seen: If the least is at least 0 and the largest above 1, the series is differenced as prices are: four
# gains have a win rate of 1/3, and another volatility. With 90 % in place of 150 % they are right, and so
# with one tiny loss.
# Why it matters: Periods with a gain above 100 % are what a report of options or crypto is read for. Nothing
# tells that its figures are of another series.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check quantstats==0.0.86
"$work/venv/bin/python" - <<'EOF'
import warnings

warnings.simplefilter("ignore")
import pandas as pd
import quantstats.stats as stats

days = pd.date_range("2026-01-01", periods=4)
for gains, expected in (([0.9, 0.2, 0.1, 0.3], 1.0), ([1.5, 0.2, 0.1, 0.3], 1 / 3)):
    returns = pd.Series(gains, index=days)
    rate, volatility = stats.win_rate(returns), stats.volatility(returns, annualize=False)
    print(f"{gains}: win rate {rate:.2f}, volatility {volatility:.2f} (standard deviation {returns.std():.2f})")
    assert abs(rate - expected) < 1e-9
EOF
