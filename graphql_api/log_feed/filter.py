"""Filters of log lines: conditions that mean the same in SQL and in memory."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeVar

import asyncpg
from sqlalchemy import ColumnElement, FromClause, Text, any_, bindparam, func, literal_column, true
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.sql.expression import collate

from graphql_api.postgres.type_codecs import rfc3339
from graphql_api.postgres.vocabularies import LOG_LEVELS, OTHER

# From the least severe. A text that the vocabulary doesn't have ranks below all levels.
_BY_SEVERITY = (OTHER, "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_CANONICAL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

# `type_codecs` shows all timestamps before the year 1 as this one; SQL must not distinguish them either.
_FIRST = rfc3339("-infinity")


class _HasRow(Protocol):
    row: Any


HasRow = TypeVar("HasRow", bound=_HasRow)


class InvalidFilterError(ValueError):
    """A filter that PostgreSQL could not compare; the message names the field and the rule."""


class FilterShape(NamedTuple):
    """Which conditions a filter has, without their values: filters of equal shape share a statement."""

    levels: bool
    components: bool
    search: bool
    since: bool
    until: bool
    dated: bool | None

    def where(self, table: FromClause) -> ColumnElement[bool]:
        """Returns the condition on columns of system_logs; `LogFilter.values` has its parameters."""
        level, component, message, instant = (
            table.c[name] for name in ("level", "component", "message", "timestamp")
        )
        condition: ColumnElement[bool] = true()
        if self.levels:
            condition &= LOG_LEVELS.sql(level) == any_(bindparam("log_levels", type_=ARRAY(Text)))
        if self.components:
            condition &= component == any_(bindparam("log_components", type_=ARRAY(Text)))
        if self.search:
            folded = func.lower(collate(message, "C"))
            condition &= func.strpos(folded, bindparam("log_search", type_=Text)) > literal_column("0")
        if self.since:
            condition &= instant >= bindparam("log_since", type_=TIMESTAMP(timezone=True))
        if self.until:
            condition &= instant < bindparam("log_until", type_=TIMESTAMP(timezone=True))
        if self.dated is not None:
            condition &= instant.is_not(None) if self.dated else instant.is_(None)
        return condition


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Conditions on a row of system_logs; all that are given must hold.

    `levels` and `minimum_level` are canonical words (`postgres.vocabularies.LOG_LEVELS`; OTHER is one of
    them, and the least severe); `components` match exactly; `search` is found anywhere in the message,
    ignoring the case of ASCII letters. `since` (inclusive) and `until` (exclusive) are instants as
    `type_codecs` has them; a row without a timestamp is in no such range. `dated` is whether the row has to
    have a timestamp.

    Raises InvalidFilterError.
    """

    levels: frozenset[str] | None = None
    minimum_level: str | None = None
    components: frozenset[str] | None = None
    search: str | None = None
    since: str | None = None
    until: str | None = None
    dated: bool | None = None
    shape: FilterShape = field(init=False, repr=False, compare=False)
    _accepted: frozenset[str] | None = field(init=False, repr=False, compare=False)
    _accepts: Callable[[str], bool] = field(init=False, repr=False, compare=False)
    """Whether a stored level is accepted; the few that occur are remembered."""
    _needle: bytes | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check("levels", self.levels or (), _check_level)
        _check("minimum_level", (self.minimum_level,), _check_level)
        _check("components", self.components or (), _check_text)
        _check("search", (self.search,), _check_text)
        _check("since", (self.since,), _check_instant)
        _check("until", (self.until,), _check_instant)
        accepted = self._accepted_levels()
        object.__setattr__(self, "_accepted", accepted)
        accepts = lru_cache(maxsize=32)(
            lambda level: accepted is None or LOG_LEVELS.canonical(level) in accepted
        )
        object.__setattr__(self, "_accepts", accepts)
        object.__setattr__(self, "_needle", self.search.encode().lower() if self.search else None)
        shape = FilterShape(
            levels=self._accepted is not None,
            components=self.components is not None,
            search=self._needle is not None,
            since=self.since is not None,
            until=self.until is not None,
            dated=self.dated,
        )
        object.__setattr__(self, "shape", shape)

    def _accepted_levels(self) -> frozenset[str] | None:
        if self.minimum_level is None:
            return self.levels
        severe = frozenset(_BY_SEVERITY[_BY_SEVERITY.index(self.minimum_level) :])
        return severe if self.levels is None else severe & self.levels

    @property
    def keys(self) -> frozenset[str] | None:
        """The components: a row that matches has one of them. None if it may have any."""
        return self.components

    def where(self, table: FromClause) -> ColumnElement[bool]:
        """Returns the condition on a table with the columns of system_logs; `values` has its parameters."""
        return self.shape.where(table)

    def values(self) -> Mapping[str, Any]:
        """Returns the parameters of `where`, with None for those that it doesn't use."""
        return {
            "log_levels": None if self._accepted is None else sorted(self._accepted),
            "log_components": None if self.components is None else sorted(self.components),
            "log_search": None if self._needle is None else self._needle.decode(),
            "log_since": "-infinity" if self.since == _FIRST else self.since,
            "log_until": "-infinity" if self.until == _FIRST else self.until,
        }

    def matches(self, row: "Mapping[str, Any] | asyncpg.Record") -> bool:
        """Whether a row, in the types of `type_codecs`, is wanted."""
        return self._fits(row) and (self._needle is None or self._needle in _folded(row["message"]))

    def _fits(self, row: "Mapping[str, Any] | asyncpg.Record") -> bool:
        """Whether all conditions hold, leaving out that on the message."""
        if self._accepted is not None and not self._accepts(row["level"]):
            return False
        if self.components is not None and row["component"] not in self.components:
            return False
        if self.since is None and self.until is None and self.dated is None:
            return True
        if row["timestamp"] is None:
            return self.dated is False and self.since is None and self.until is None
        instant = rfc3339(row["timestamp"])
        if self.dated is False or (self.since is not None and instant < self.since):
            return False
        return self.until is None or instant < self.until

    def choose(self, events: Iterable[HasRow], cache: dict[Any, Any]) -> list[HasRow]:
        """Returns the events whose rows match; `cache` keeps messages as `search` compares them."""
        fits, needle = self._fits, self._needle
        if needle is None:
            return [event for event in events if fits(event.row)]
        chosen = []
        for event in events:
            if fits(event.row):
                message = cache.get(event)
                if message is None:
                    message = cache[event] = _folded(event.row["message"])
                if needle in message:
                    chosen.append(event)
        return chosen


def _folded(message: str) -> bytes:
    """Returns a message as `search` compares it, with ASCII letters in lower case."""
    return message.encode().lower()


def _check(name: str, values: Iterable[str | None], rule: Callable[[str], str | None]) -> None:
    for value in values:
        if value is not None and (broken := rule(value)) is not None:
            raise InvalidFilterError(f"{name}: {broken}")


def _check_level(level: str) -> str | None:
    return None if level in _BY_SEVERITY else f"{level!r} is none of {', '.join(_BY_SEVERITY)}"


def _check_text(text: str) -> str | None:
    if "\0" in text:
        return "PostgreSQL's text holds no NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "not valid Unicode"
    return None


def _check_instant(instant: str) -> str | None:
    broken = f"expected an instant like {_FIRST}"
    if not _CANONICAL.fullmatch(instant):
        return broken
    try:
        datetime.fromisoformat(instant)
    except ValueError:
        return broken
    return None


EVERYTHING = LogFilter()
