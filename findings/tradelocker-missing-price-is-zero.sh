#!/usr/bin/env bash
# TradeLocker's client turns a price that is missing into 0.0.
#
# Packages: tradelocker 0.56.2
# One would guess: An order without a stop price has none in the data frame: NaN or None.
# Seen: Every number column of every frame (orders, positions, fills) goes through fillna(0): the stop stands
# at 0.0.
# Why it matters: 0 is a price that can be compared, averaged and stored. 'Has no stop' can't be told from
# 'stops at zero' any more.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tradelocker==0.56.2 'setuptools<81'
"$work/venv/bin/python" - <<'EOF'
import warnings

warnings.simplefilter("ignore")
import pandas as pd
from tradelocker import TLAPI

# What get_all_orders does to the server's answer, without an account there.
orders = pd.DataFrame({"id": ["1", "2"], "price": ["1.0800", "1.0900"], "stopPrice": [None, "1.0700"]})
client = TLAPI.__new__(TLAPI)
client._apply_typing(orders, {"id": str, "price": float, "stopPrice": float})
print(orders.to_string(index=False))
assert orders["stopPrice"].tolist() == [0.0, 1.07]
EOF
