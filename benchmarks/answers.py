"""Whether two servers' answers have the same data, under whatever names."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

# The other schemas' names of our fields.
_NAMES: Mapping[str, Mapping[str, str]] = {
    "postgraphile": {
        "rowId": "id",
        "userByRowId": "user",
        "tradelockerAccountsByUserId": "accounts",
        "tradingSessionsByAccountId": "sessions",
        "tradesBySessionId": "trades",
        "allTrades": "trades",
        "allAiStrategies": "strategies",
        "strategyPerformancesByStrategyId": "performance",
        "aiStrategyByStrategyId": "strategy",
        "tradingSessionBySessionId": "session",
        "tradelockerAccountByAccountId": "account",
        "postgraphileUpdateRiskLimits": "updateRiskSettings",
    },
}
# Objects that are unwrapped before answers are compared.
_WRAPPERS = ("viewer", "nodes", "riskSettings", "result")

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)")


class DifferentAnswersError(Exception):
    """Two servers answered with different data."""


def normalised(server: str, body: bytes) -> Any:
    """Returns an answer's data with our names, and numbers and times as values.

    Raises DifferentAnswersError.
    """
    answer = json.loads(body)
    if answer.get("errors") or not answer.get("data"):
        raise DifferentAnswersError(f"{server} answered {body[:500]!r}")
    return _plain(answer["data"], _NAMES.get(server, {}))


def require_same(workload: str, first: str, data: Any, second: str, other: Any) -> None:
    """Raise DifferentAnswersError, naming the first place where they differ."""
    place = _difference(data, other, workload)
    if place:
        raise DifferentAnswersError(f"{first} and {second} differ at {place}")


def _plain(value: Any, names: Mapping[str, str]) -> Any:
    match value:
        case dict():
            plain = {
                names.get(name, name): _plain(part, names)
                for name, part in value.items()
                if (name, part) != ("userErrors", [])
            }
            if len(plain) == 1 and next(iter(plain)) in _WRAPPERS:
                return next(iter(plain.values()))
            return plain
        case list():
            return [_plain(part, names) for part in value]
        case str() if _NUMBER.fullmatch(value):
            return Decimal(value)
        case str() if _TIME.fullmatch(value):
            return datetime.fromisoformat(value).astimezone(UTC)
        case str():
            return value.casefold()  # BUY is our enum's name for a stored "buy"
        case _:
            return value


def _difference(one: Any, other: Any, place: str) -> str | None:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        parts = [(name, one[name], other[name]) for name in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = [(str(number), *pair) for number, pair in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else f"{place}: {str(one)[:200]} and {str(other)[:200]}"
    return next(filter(None, (_difference(a, b, f"{place}.{name}") for name, a, b in parts)), None)
