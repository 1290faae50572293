"""Demo log lines of the platform's programs, each of which spells levels and components in its own way."""

import json
import random
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from graphql_api.dev.demo.rows import Session, SystemLog, Trade, identifier, moment, spelling

DEBUG = ("DEBUG", "debug")
INFO = ("INFO", "info", "Info")
WARNING = ("WARNING", "WARN", "warn")
ERROR = ("ERROR", "error", "err")
CRITICAL = ("CRITICAL", "FATAL", "fatal")
UNKNOWN = ("AUDIT", "audit")

_CHATTER: tuple[tuple[int, tuple[str, ...], str, str, Mapping[str, Any] | None], ...] = (
    (30, DEBUG, "market-data", "Snapshot of 7 instruments stored", {"instruments": 7, "gaps": 0}),
    (60, INFO, "bot", "Heartbeat", {"latency_ms": 21, "queue": 0}),
    (20, INFO, "strategy-engine", "Models reloaded", {"models": ["lstm-1", "lstm-2", "lstm-3"], "took_s": 8}),
    (12, INFO, "tradelocker", "Balances in step with the broker", None),
    (10, WARNING, "market-data", "No quote for 4 seconds", {"symbol": "XAUUSD", "seconds": 4}),
    (8, WARNING, "tradelocker", "Slow answer from the broker", {"path": "/trade/orders", "took_ms": 2840}),
    (6, WARNING, "risk", "Daily loss near its limit", {"used": "0.86"}),
    (5, ERROR, "tradelocker", "The broker refused the session token", {"status": 401, "token": "demo-token"}),
    (
        4,
        ERROR,
        "market-data",
        "Feed lost, connecting again",
        {"attempt": 1, "error": {"type": "TimeoutError"}},
    ),
    (2, CRITICAL, "scheduler", "No bot answered for a minute: paging whoever is on call", {"page": "desk"}),
    (1, UNKNOWN, "deploy", "Release 4.12.0 rolled out", {"release": "4.12.0", "hosts": 3}),
)
_WEIGHTS = [line[0] for line in _CHATTER]


def lines(
    rng: random.Random, sessions: Iterable[Session], trades: Iterable[Trade], first: int, now: int
) -> list[SystemLog]:
    """Returns the lines of sessions and refused orders, with routine lines between them, oldest first."""
    written: list[SystemLog] = []
    for session in sessions:
        subject = {"session_id": str(session.id)}
        written.append(_line(rng, session.started_at, INFO, "bot", "Session started", subject))
        if session.ended_at is not None and session.pnl is not None:
            result = {**subject, "trades": session.trades_count, "pnl": f"{session.pnl:f}"}
            written.append(_line(rng, session.ended_at, INFO, "bot", "Session ended", result))
    for trade in trades:
        if trade.status in ("rejected", "refused"):
            message = f"The broker rejected {trade.direction} {trade.size} {trade.symbol}"
            details = {"trade_id": str(trade.id), "reason": "insufficient margin"}
            written.append(_line(rng, trade.entry_time, WARNING, "execution", message, details))
    for _, level, component, message, chatter in rng.choices(_CHATTER, _WEIGHTS, k=1_000):
        when = moment(rng.randrange(first, now), rng.randrange(1_000_000))
        written.append(_line(rng, when, level, component, message, chatter))
    return sorted(written, key=lambda line: line.timestamp)


def _line(
    rng: random.Random,
    when: datetime,
    level: tuple[str, ...],
    component: str,
    message: str,
    details: Mapping[str, Any] | None,
) -> SystemLog:
    text = None if details is None else json.dumps(details)
    return SystemLog(identifier(rng), when, spelling(rng, *level), component, message, text)
