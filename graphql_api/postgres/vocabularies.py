"""Vocabularies: what the words in free-text columns mean (status, direction, level).

Other programs write directions, statuses and levels in words of their own. A vocabulary maps the words that
brokers, exchanges and logging libraries publish to canonical words; any other text is OTHER, so that no
stored text can make a query fail. One vocabulary serves both to read rows in Python and to filter them in
SQL. `docs/vocabularies.md` has the source of each word.

A trade's status is part of indexes: see `postgres.tables.indexes` before its words are changed.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from sqlalchemy import ColumnElement, case, func, literal_column
from sqlalchemy.types import Text

OTHER: Final = "OTHER"
FILLED: Final = "FILLED"
MAX_REMEMBERED: Final = 1000
"""Texts of each column that a process remembers: so many known ones, and as many unknown ones."""

log = logging.getLogger(__name__)
_IGNORED = " _-"
_WITHOUT_IGNORED = str.maketrans("", "", _IGNORED)


@dataclass(frozen=True)
class Vocabulary:
    """Canonical words, each with the spellings that mean it. Null stays null.

    Case, spaces, underscores and hyphens are ignored: PARTIALLY_FILLED is partially-filled. Only the case of
    ASCII letters is ignored, so that the result doesn't depend on the database's locale.
    """

    column: str
    """The column it is for, as table.column."""
    spellings: Mapping[str, tuple[str, ...]]
    """The spellings of each canonical word, frequent ones first: PostgreSQL compares them one by one."""
    unknown: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    """Texts that this process has read as OTHER, up to MAX_REMEMBERED."""
    _canonical: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _seen: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ranked = [
            (rank, _folded(spelling), word)
            for word, spellings in self.spellings.items()
            for rank, spelling in enumerate(spellings)
        ]
        self._canonical.update((text, word) for _, text, word in sorted(ranked, key=itemgetter(0)))

    def canonical(self, text: str) -> str:
        """Returns the canonical word of a stored text. Logs each unknown text once."""
        word = self._seen.get(text)
        return self._look_up(text) if word is None else word

    def recognizes(self, text: str) -> bool:
        """Whether a text has a canonical word."""
        return _folded(text) in self._canonical

    def _look_up(self, text: str) -> str:
        word = self._canonical.get(_folded(text))
        if word is not None:
            if len(self._seen) < MAX_REMEMBERED:
                self._seen[text] = word
            return word
        if text not in self.unknown and len(self.unknown) < MAX_REMEMBERED:
            self.unknown.add(text)
            log.warning("%s has a word that is in no vocabulary, read as OTHER: %r", self.column, text)
        return OTHER

    def sql(self, column: ColumnElement[str], **instead: ColumnElement[str]) -> ColumnElement[str]:
        """Returns the SQL of a column's canonical word.

        `instead` has expressions, by canonical word, that replace a word whose meaning depends on other
        columns.
        """
        whens = [(_word(text), instead.get(word, _word(word))) for text, word in self._canonical.items()]
        # A simple CASE folds the text once; with a condition for each word, it would be folded for each.
        folded = func.lower(func.translate(column, _word(_IGNORED), _word("")).collate("C"))
        return case((column.is_not(None), case(*whens, value=folded, else_=_word(OTHER))))


def _folded(text: str) -> str:
    return text.translate(_WITHOUT_IGNORED).encode().lower().decode()


def _word(word: str) -> ColumnElement[str]:
    """Returns one of our own words as a literal in the SQL: the planner doesn't know parameters."""
    return literal_column(f"'{word}'", Text)


TRADE_DIRECTIONS = Vocabulary(
    "trades.direction",
    {
        "BUY": ("buy", "long", "b", "BOT", "buy limit", "buy stop", "0"),
        "SELL": ("sell", "short", "s", "SLD", "sell limit", "sell stop", "sell short", "SSHORT", "1"),
    },
)

# Numbers up to 7 are syslog's, multiples of ten Python's, and others OpenTelemetry's.
LOG_LEVELS = Vocabulary(
    "system_logs.level",
    {
        "INFO": (
            *("info", "informational", "information", "notice", "success", "log"),
            *("20", "6", "5", "25", "info2", "info3", "info4", "9", "11", "12"),
        ),
        "DEBUG": (
            *("debug", "trace", "verbose", "fine", "finer", "finest", "config", "network"),
            *("10", "7", "8", "debug1", "debug2", "debug3", "debug4", "debug5", "trace2", "trace3", "trace4"),
        ),
        "WARNING": ("warning", "warn", "30", "4", "warn2", "warn3", "warn4", "13", "14", "15", "16"),
        "ERROR": ("error", "err", "severe", "40", "3", "error2", "error3", "error4", "17", "18", "19"),
        "CRITICAL": (
            *("critical", "crit", "fatal", "alert", "emerg", "emergency", "panic", "dpanic"),
            *("50", "2", "1", "0", "fatal2", "fatal3", "fatal4", "21", "22", "23", "24"),
        ),
    },
)

# The words of Stripe, which the billing system writes.
SUBSCRIPTION_STATUSES = Vocabulary(
    "users.subscription_status",
    {
        "TRIAL": ("trial", "trialing"),
        "ACTIVE": ("active",),
        "PAST_DUE": ("past_due", "unpaid"),
        "CANCELLED": ("canceled", "cancelled"),
        "EXPIRED": ("expired", "incomplete_expired"),
        "NONE": ("none", ""),
    },
)

TRADE_STATUSES = Vocabulary(
    "trades.status",
    {
        "CLOSED": ("closed",),
        "OPEN": ("open", "active"),
        # Filled wholly or in part: the trade is open, or closed if it has an exit.
        FILLED: (
            *("filled", "partially filled", "partial", "partial filled", "completed", "calculated"),
            *("partially filled canceled", "partial canceled", "ORDER_STATE_FILLED", "ORDER_STATE_PARTIAL"),
            *("OrderFilled", "BuyOrderCompleted", "SellOrderCompleted"),
        ),
        "CANCELLED": (
            *("cancelled", "canceled", "removed", "expired", "expired in match", "ApiCancelled", "replaced"),
            *("deactivated", "mmp canceled", "ORDER_STATE_CANCELED", "ORDER_STATE_EXPIRED"),
            *("OrderCancelled", "OrderExpired"),
        ),
        "PENDING": (
            *("pending", "new", "unplaced", "accepted", "submitted", "PreSubmitted", "working", "placed"),
            *("pending new", "pending create", "pending cancel", "canceling", "cancelling", "PendingSubmit"),
            *("ApiPending", "pending replace", "pending update", "pending approval", "approved", "created"),
            *("started", "request add", "request modify", "request cancel", "initialized", "emulated"),
            *("released", "triggered", "untriggered", "live", "held", "suspended", "done for day"),
            *("accepted for bidding", "ORDER_STATE_STARTED", "ORDER_STATE_PLACED"),
            *("BuyOrderCreated", "SellOrderCreated"),
        ),
        "REJECTED": (
            *("rejected", "refused", "failed", "denied", "inactive"),
            *("ORDER_STATE_REJECTED", "OrderFailure"),
        ),
    },
)

VOCABULARIES: Final = (TRADE_DIRECTIONS, LOG_LEVELS, SUBSCRIPTION_STATUSES, TRADE_STATUSES)


def trade_status(status: str, *, has_exit: bool) -> str:
    """Returns the canonical status of a trade: a filled one is CLOSED with an exit time, OPEN without."""
    word = TRADE_STATUSES.canonical(status)
    if word == FILLED:
        return "CLOSED" if has_exit else "OPEN"
    return word


def trade_status_sql(status: ColumnElement[str], exit_time: ColumnElement[object]) -> ColumnElement[str]:
    """Returns the SQL of `trade_status`."""
    filled = case((exit_time.is_(None), _word("OPEN")), else_=_word("CLOSED"))
    return TRADE_STATUSES.sql(status, **{FILLED: filled})
