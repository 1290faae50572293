"""What the words in free text columns mean.

Other programs write directions, statuses and levels as they please. Each vocabulary maps what is seen in
the wild to one canonical word; anything else is OTHER, and no stored text can fail a query. The same table
reads rows in Python and filters them in SQL.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, case, func, literal_column
from sqlalchemy.types import Text

OTHER = "OTHER"


@dataclass(frozen=True)
class Vocabulary:
    """Canonical words, each with the spellings that mean it, compared after `lower(trim())`.

    Only ASCII letters have a lower case here, whatever the database's locale. Null stays null.
    """

    spellings: Mapping[str, tuple[str, ...]]
    _canonical: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = {spelling: word for word, spellings in self.spellings.items() for spelling in spellings}
        object.__setattr__(self, "_canonical", table)

    def canonical(self, text: str) -> str:
        """The canonical word of a stored text."""
        return self._canonical.get(_folded(text), OTHER)

    def sql(self, column: ColumnElement[str], **more: ColumnElement[str]) -> ColumnElement[str]:
        """The canonical word of a column, as PostgreSQL computes it; `more` by spelling, where it depends."""
        words = {spelling: _word(word) for spelling, word in self._canonical.items()} | more
        whens = [(_word(spelling), word) for spelling, word in words.items()]
        # Folded once, and then compared: with a condition for each word it would be folded for each.
        folded = func.lower(func.btrim(column).collate("C"))
        return case((column.is_not(None), case(*whens, value=folded, else_=_word(OTHER))))


def _folded(text: str) -> str:
    return text.strip(" ").encode().lower().decode()


def _word(word: str) -> ColumnElement[str]:
    """One of our own words, written into the SQL: the planner knows it, and it costs no parameter."""
    return literal_column(f"'{word}'", Text)


DIRECTIONS = Vocabulary({"BUY": ("buy", "long", "b"), "SELL": ("sell", "short", "s")})

LEVELS = Vocabulary(
    {
        "DEBUG": ("debug",),
        "INFO": ("info",),
        "WARNING": ("warning", "warn"),
        "ERROR": ("error",),
        "CRITICAL": ("critical", "fatal"),
    }
)

# Stripe's words, which billing writes.
SUBSCRIPTIONS = Vocabulary(
    {
        "TRIAL": ("trial", "trialing"),
        "ACTIVE": ("active",),
        "PAST_DUE": ("past_due", "unpaid"),
        "CANCELLED": ("canceled", "cancelled"),
        "EXPIRED": ("expired", "incomplete_expired"),
        "NONE": ("none", ""),
    }
)

# A filled order is a closed trade only once it has an exit.
_STATUS_WORDS = Vocabulary(
    {
        "PENDING": ("pending", "new", "unplaced"),
        "OPEN": ("open", "active"),
        "CLOSED": ("closed",),
        "CANCELLED": ("cancelled", "canceled", "removed"),
        "REJECTED": ("rejected", "refused"),
    }
)
_FILLED = "filled"


def trade_status(status: str, *, has_exit: bool) -> str:
    """The canonical status of a trade: `filled` means CLOSED with an exit time, OPEN without one."""
    if _folded(status) == _FILLED:
        return "CLOSED" if has_exit else "OPEN"
    return _STATUS_WORDS.canonical(status)


def trade_status_sql(status: ColumnElement[str], exit_time: ColumnElement[object]) -> ColumnElement[str]:
    """`trade_status`, as PostgreSQL computes it."""
    return _STATUS_WORDS.sql(status, filled=case((exit_time.is_(None), _word("OPEN")), else_=_word("CLOSED")))
