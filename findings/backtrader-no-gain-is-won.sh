#!/usr/bin/env bash
# backtrader counts a trade that won nothing as won.
#
# Packages: backtrader 1.9.78.123
# One would guess: A trade that ends where it began is neither won nor lost, as other tools count it.
# Seen: TradeAnalyzer asks whether the result is at least zero: a strategy whose trades all break even has as
# many won as closed, a winning streak, and an average gain of 0.
# Why it matters: Its win rate isn't the win rate of others for the same list of trades, and the more stops
# are moved to break-even, the further they are apart.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check backtrader==1.9.78.123 pandas==2.3.3
"$work/venv/bin/python" - <<'EOF'
import backtrader
import pandas as pd


class InAndOut(backtrader.Strategy):
    def next(self):
        if len(self) in (1, 4):
            self.buy(size=1)
        elif len(self) in (2, 6):
            self.close()


days = pd.date_range("2026-01-01", periods=10)
bars = pd.DataFrame({name: 100.0 for name in ("open", "high", "low", "close", "volume")}, index=days)
cerebro = backtrader.Cerebro()
cerebro.adddata(backtrader.feeds.PandasData(dataname=bars))
cerebro.addstrategy(InAndOut)
cerebro.addanalyzer(backtrader.analyzers.TradeAnalyzer, _name="trades")
found = cerebro.run()[0].analyzers.trades.get_analysis()
print(f"closed {found.total.closed}, won {found.won.total}, lost {found.lost.total}, result {found.pnl.net.total}")
assert (found.total.closed, found.won.total, found.lost.total, found.pnl.net.total) == (2, 2, 0, 0.0)
EOF
