"""Trades as other programs write them by mistake: each changes one closed trade."""

import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from graphql_api.dev.demo.rows import Session, Trade, identifier, moment
from graphql_api.dev.demo.sessions import Run
from graphql_api.dev.demo.trades import Setup, trade

_UNFINISHED = {"exit_price": None, "exit_time": None, "pnl": None}
_DELETED_STRATEGY = UUID("5e1ec7ed-0000-4000-8000-00000000dead")

ODDITIES: tuple[Mapping[str, Any], ...] = (
    {"strategy_id": _DELETED_STRATEGY},
    {"strategy_id": _DELETED_STRATEGY, "ai_confidence": Decimal("1.0000")},
    {"strategy_id": None, "ai_confidence": None},
    {"status": "liquidated"},
    {"status": " Closed "},
    {"direction": "hedge"},
    {"pnl": Decimal("NaN")},
    {"pnl": None},
    {**_UNFINISHED, "status": "filled"},
    {**_UNFINISHED, "status": "open"},
    {**_UNFINISHED, "status": "Active"},
    {**_UNFINISHED, "status": "pending"},
    {**_UNFINISHED, "status": "new"},
)


def odd_trades(rng: random.Random, run: Run, session_id: UUID, setups: list[Setup]) -> list[Trade]:
    """Returns one trade for each of ODDITIES, all in one running session."""
    return [
        _closed(rng, run, session_id, rng.choice(setups))._replace(status="closed")._replace(**changes)
        for changes in ODDITIES
    ]


def orphan_trade(rng: random.Random, run: Run, setups: list[Setup]) -> Trade:
    """Returns a trade of no session: nobody's but an operator's."""
    return _closed(rng, run, identifier(rng), rng.choice(setups))._replace(session_id=None)


def orphan_session(rng: random.Random, run: Run) -> Session:
    """Returns a session of no account, without totals."""
    return Session(identifier(rng), None, moment(run.start), moment(run.end), None, None, None, 0)


def _closed(rng: random.Random, run: Run, session_id: UUID, setup: Setup) -> Trade:
    while (made := trade(rng, run, session_id, setup)).exit_time is None:
        pass
    return made
