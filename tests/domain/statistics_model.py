"""A model of the statistics, in plain Python with exact numbers, with which the SQL is compared."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from itertools import groupby
from typing import Any
from uuid import UUID

from tests.domain.clock_model import bucket_start

EXACT = Context(prec=200)


@dataclass(frozen=True)
class Session:
    id: UUID
    account: UUID | None
    initial_balance: Decimal | None


NOWHERE = Session(UUID(int=0), None, None)


@dataclass(frozen=True)
class Trade:
    id: UUID
    session: Session | None
    symbol: str
    direction: str
    status: str
    entry_price: Decimal
    size: Decimal
    entry_time: datetime
    exit_time: datetime | None
    pnl: Decimal | None
    strategy: UUID | None

    @property
    def moment(self) -> datetime:
        return self.exit_time or self.entry_time

    @property
    def state(self) -> str:
        word = self.status.strip(" ").lower()
        if word == "filled":
            return "CLOSED" if self.exit_time else "OPEN"
        return {"closed": "CLOSED", "open": "OPEN", "active": "OPEN", "canceled": "CANCELLED"}.get(
            word, "OTHER"
        )

    @property
    def result(self) -> Decimal | None:
        return None if self.pnl is None or self.pnl.is_nan() else self.pnl


def plain(value: Decimal | Fraction | int, scale: int = 8) -> str:
    """Returns a number as the API writes it."""
    exact = Fraction(value)
    number = EXACT.divide(Decimal(exact.numerator), Decimal(exact.denominator))
    return format(number.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP, EXACT), "f")


def ratio(dividend: Any, divisor: Any) -> str | None:
    return plain(Fraction(dividend) / Fraction(divisor)) if divisor else None


def number(value: Decimal) -> Fraction:
    return Fraction(0) if value.is_nan() else Fraction(value)


def instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def microseconds(text: str | None) -> int | None:
    """Returns the microseconds of an ISO 8601 duration that the API has written."""
    if text is None:
        return None
    sign, body = (-1, text[1:]) if text.startswith("-") else (1, text)
    result, digits = Fraction(0), ""
    for character in body.removeprefix("PT"):
        if character.isdigit() or character == ".":
            digits += character
        else:
            result += Fraction(digits) * {"H": 3600, "M": 60, "S": 1}[character]
            digits = ""
    return int(sign * result * 1_000_000)


def scalars(trades: Iterable[Trade]) -> dict[str, Any]:
    closed = [trade for trade in trades if trade.state == "CLOSED"]
    counted = [trade for trade in closed if trade.result is not None]
    results = [Fraction(trade.pnl) for trade in counted if trade.pnl is not None]
    won, lost = [r for r in results if r > 0], [-r for r in results if r < 0]
    best = max(counted, key=lambda trade: (trade.result, trade.id), default=None)
    worst = min(counted, key=lambda trade: (trade.result, trade.id), default=None)
    lasted = [
        Fraction((trade.exit_time - trade.entry_time) // timedelta(microseconds=1))
        for trade in counted
        if trade.exit_time
    ]
    return {
        "tradesCount": len(closed),
        "wins": len(won),
        "losses": len(lost),
        "breakeven": results.count(Fraction(0)),
        "excludedTrades": len(closed) - len(counted),
        "winRate": ratio(len(won), len(closed)),
        "netPnl": plain(sum(results)),
        "grossProfit": plain(sum(won)),
        "grossLoss": plain(sum(lost)),
        "profitFactor": ratio(sum(won), sum(lost)),
        "expectancy": ratio(sum(results), len(results)),
        "averageWin": ratio(sum(won), len(won)),
        "averageLoss": ratio(sum(lost), len(lost)),
        "volume": plain(sum(number(trade.size) for trade in counted)),
        "averageDuration": int(plain(sum(lasted, Fraction(0)) / len(lasted), 0)) if lasted else None,
        "bestTrade": best and {"id": str(best.id)},
        "worstTrade": worst and {"id": str(worst.id)},
    }


def by_status(trades: Sequence[Trade]) -> list[dict[str, Any]]:
    counts = counted_by(trades, lambda trade: trade.state)
    return [{"status": status, "count": len(part)} for status, part in counts]


def by_symbol(trades: Sequence[Trade], first: int) -> list[dict[str, Any]]:
    closed = [trade for trade in trades if trade.state == "CLOSED"]
    groups = counted_by(closed, lambda trade: trade.symbol)[:first]
    return [{"symbol": symbol, **_group(part)} for symbol, part in groups]


def by_strategy(trades: Sequence[Trade], first: int) -> list[dict[str, Any]]:
    closed = [trade for trade in trades if trade.state == "CLOSED"]
    groups = counted_by(closed, lambda trade: str(trade.strategy) if trade.strategy else "~none")[:first]
    return [
        {"strategyId": None if strategy == "~none" else strategy, **_group(part)} for strategy, part in groups
    ]


def counted_by(trades: Sequence[Trade], key: Callable[[Trade], str]) -> list[tuple[str, list[Trade]]]:
    """Returns groups of trades by key: the largest first, equal ones in the order of their keys."""
    groups = [(name, list(part)) for name, part in groupby(sorted(trades, key=key), key)]
    return sorted(groups, key=lambda group: (-len(group[1]), group[0]))


def _group(trades: Sequence[Trade]) -> dict[str, Any]:
    both = scalars(trades)
    return {name: both[name] for name in ("tradesCount", "netPnl", "winRate")}


def exposure(trades: Sequence[Trade]) -> list[dict[str, Any]]:
    opened = [trade for trade in trades if trade.state == "OPEN"]
    exposures = []
    for symbol, part in sorted(counted_by(opened, lambda trade: trade.symbol)):
        bought = sum(number(t.size) for t in part if t.direction.strip().lower() in ("buy", "long"))
        sold = sum(number(t.size) for t in part if t.direction.strip().lower() in ("sell", "s"))
        notional = sum(number(trade.size) * number(trade.entry_price) for trade in part)
        exposures.append(
            {
                "symbol": symbol,
                "openTrades": len(part),
                "buySize": plain(bought),
                "sellSize": plain(sold),
                "netSize": plain(bought - sold),
                "entryNotional": notional,
            }
        )
    return exposures


def results(trades: Iterable[Trade]) -> list[Trade]:
    """Returns the closed trades that have a pnl, in the order in which they count."""
    counted = (trade for trade in trades if trade.state == "CLOSED" and trade.result is not None)
    return sorted(counted, key=lambda trade: (trade.moment, trade.id))


def start(trades: Iterable[Trade]) -> Fraction | None:
    """Returns the starting balance: for each account, that of the session of its first result."""
    firsts: dict[UUID, Session] = {}
    for trade in results(trades):
        session = trade.session or NOWHERE
        firsts.setdefault(session.account or session.id, session)
    balances = [session.initial_balance for session in firsts.values()]
    known = [Fraction(b) for b in balances if b is not None and not b.is_nan() and b > 0]
    return sum(known, Fraction(0)) if known and len(known) == len(balances) else None


def drawdowns(trades: Iterable[Trade]) -> list[tuple[Trade, Fraction, Fraction]]:
    """Returns each result with the peak of the running sum, and how far the sum is below the peak."""
    cumulative = peak = Fraction(0)
    line = []
    for trade in results(trades):
        cumulative += Fraction(trade.pnl or 0)
        peak = max(peak, cumulative)
        line.append((trade, peak, peak - cumulative))
    return line


def max_drawdown(trades: Sequence[Trade]) -> dict[str, Any]:
    line, balance = drawdowns(trades), start(trades)
    percents = [] if balance is None else [100 * below / (balance + peak) for _, peak, below in line]
    return {
        "maxDrawdown": plain(max((below for _, _, below in line), default=0)),
        "maxDrawdownPct": plain(max(percents)) if percents else None,
    }


@dataclass
class Point:
    time: datetime
    net: Fraction
    cumulative: Fraction
    drawdown: Fraction
    count: int


def curve(trades: Sequence[Trade], interval: str, zone: str, most: int) -> list[dict[str, Any]]:
    points: list[Point] = []
    for trade, _, below in drawdowns(trades):
        time, pnl = bucket_start(trade.moment, interval, zone), Fraction(trade.pnl or 0)
        if not points or points[-1].time != time:
            cumulative = points[-1].cumulative if points else Fraction(0)
            points.append(Point(time, Fraction(0), cumulative, Fraction(0), 0))
        last = points[-1]
        last.net, last.cumulative, last.count = last.net + pnl, last.cumulative + pnl, last.count + 1
        last.drawdown = max(last.drawdown, below)
    balance = start(trades)
    return [
        {
            "time": instant(point.time),
            "netPnl": plain(point.net),
            "cumulativePnl": plain(point.cumulative),
            "equity": None if balance is None else plain(balance + point.cumulative),
            "drawdown": plain(point.drawdown),
            "tradesCount": point.count,
        }
        for point in thinned(points, most)
    ]


def thinned(points: list[Point], most: int) -> list[Point]:
    if len(points) <= most:
        return points
    windows = max(most // 3, 1)
    size, longer = divmod(len(points), windows)
    kept, begin = set(), 0
    for window in range(windows):
        end = begin + size + (window < longer)
        part = range(begin, end)
        kept.add(end - 1)
        if most >= 2:
            kept.add(max(part, key=lambda i: (points[i].drawdown, -i)))
        if most >= 3:
            kept.add(max(part, key=lambda i: (points[i].cumulative, -i)))
        begin = end
    merged, begin = [], 0
    for i in sorted(kept):
        part_ = points[begin : i + 1]
        merged.append(
            Point(
                points[i].time,
                sum((p.net for p in part_), Fraction(0)),
                points[i].cumulative,
                max(p.drawdown for p in part_),
                sum(p.count for p in part_),
            )
        )
        begin = i + 1
    return merged


def everything(trades: Sequence[Trade], *, interval: str, zone: str, most: int, first: int) -> dict[str, Any]:
    """Returns all fields of TradeStats."""
    return {
        **scalars(trades),
        **max_drawdown(trades),
        "countByStatus": by_status(trades),
        "bySymbol": by_symbol(trades, first),
        "byStrategy": by_strategy(trades, first),
        "exposure": exposure(trades),
        "equityCurve": curve(trades, interval, zone, most),
    }
