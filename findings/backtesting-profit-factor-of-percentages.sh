#!/usr/bin/env bash
# backtesting.py's profit factor is above 1 for a strategy that loses money.
#
# Packages: backtesting 0.6.6
# One would guess: Profit factor is gross profit over gross loss, in money: below 1 exactly where money was
# lost.
# Seen: It is the sum of the winners' percentages over the sum of the losers': a gain of 10 % on 1 unit and a
# loss of 5 % on 40 units make 2.0, with 3.9 % of the equity gone.
# Why it matters: Wherever size varies, the figure says the opposite of the same figure of freqtrade,
# MetaTrader and brokers' reports.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check backtesting==0.6.6
"$work/venv/bin/python" - <<'EOF'
import warnings

warnings.simplefilter("ignore")
import pandas as pd
from backtesting import Backtest, Strategy

closes = [100.0, 100, 110, 110, 200, 200, 190, 190, 190, 190]
days = pd.date_range("2026-01-01", periods=len(closes))
bars = pd.DataFrame(dict.fromkeys(("Open", "High", "Low", "Close"), closes), index=days)


class TwoTrades(Strategy):
    def init(self) -> None:
        pass

    def next(self) -> None:
        match len(self.data):
            case 2:
                self.buy(size=1)
            case 5:
                self.buy(size=40)
            case 3 | 7:
                self.position.close()


result = Backtest(bars, TwoTrades, cash=10_000, trade_on_close=True).run()
money = result["_trades"].PnL
in_money = money[money > 0].sum() / -money[money < 0].sum()
print(f"return {result['Return [%]']:.1f} %, profit factor {result['Profit Factor']}, in money {in_money}")
assert (round(result["Profit Factor"], 6), in_money, round(result["Return [%]"], 6)) == (2.0, 0.025, -3.9)
EOF
