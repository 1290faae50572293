"""Type codecs for asyncpg: PostgreSQL's values reach Python as text.

Decoding a timestamp or a numeric to an object and printing it again costs three times as much as keeping
its text, and money that is never parsed is never rounded. So in every row that `Database` returns:

- uuid is `str`;
- numeric is `str` in plain notation, or NAN, which clients read as null. No sum may contain NAN: if Python
  computes with a column, its statement selects `tables.finite(column)`;
- timestamptz is `str` as PostgreSQL prints it. `rfc3339` converts it for clients, and only where an operation
  selects it, since the conversion takes longer than everything else that is done with a row;
- jsonb is its JSON text.

Parameters of these types are `str`, too. A numeric or timestamptz parameter of a `Statement` may be any
object whose `str()` PostgreSQL can read.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from asyncpg import Connection
from sqlalchemy import ARRAY, DateTime, Numeric
from sqlalchemy.types import TypeEngine

# Settings with which every server prints timestamps in the form that `rfc3339` converts fastest.
CONNECTION_SETTINGS = {"TimeZone": "UTC", "DateStyle": "ISO, YMD"}
# Settings that our statements rely on, and that a database or a role may have otherwise.
STATEMENT_SETTINGS = {
    "array_nulls": "on",  # arrays are sent as text
    # Concurrent changes wait for one another and then read what the other has written; under the other levels
    # they would fail. A standby refuses every statement under `serializable`.
    "default_transaction_isolation": "read committed",
    "quote_all_identifiers": "off",  # names are compared as PostgreSQL prints them
}

NAN: Final = "NaN"
"""A stored NaN, as PostgreSQL prints it."""

# `2026-11-22 09:00:00.500000+00`.
_WHOLE = 29
_MANY = 12
"""The number of texts from which replacing the separators of all at once is faster."""
_SEPARATORS = ((10, " "), (19, "."), (26, "+"), (27, "0"), (28, "0"))

_FIRST = "0001-01-01T00:00:00.000000Z"
_LAST = "9999-12-31T23:59:59.999999Z"


def rfc3339(text: str) -> str:
    """Converts `2026-11-22 09:00:00.5+00` to RFC 3339 in UTC, `2026-11-22T09:00:00.500000Z`.

    Earlier years than 1 become the first instant of year 1, later ones than 9999 the last instant of 9999.
    Text that is RFC 3339 already is returned as it is.
    """
    if text[19:] == "+00":  # a whole second
        return f"{text[:10]}T{text[11:19]}.000000Z"
    if len(text) != _WHOLE:
        text = _padded(text)
    if text[26:] == "+00" and text[19] == ".":
        return f"{text[:10]}T{text[11:26]}Z"
    if text == "-infinity" or text.endswith(" BC"):
        return _FIRST
    if text == "infinity" or text[:5].isdecimal():  # a year of five digits or six
        return _LAST
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError:  # at the end of the calendar, if the connection has another time zone
        return _FIRST if text.startswith("0") else _LAST
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def rfc3339_all(texts: Sequence[str]) -> list[str]:
    """Converts many texts as `rfc3339` does.

    If all have the usual form, replaces their separators at once.
    """
    if len(texts) < _MANY:
        return list(map(rfc3339, texts))
    whole = _replace_separators(texts)
    if whole is None:
        padded = [text if len(text) == _WHOLE else _padded(text) for text in texts]
        whole = _replace_separators(padded) or list(map(rfc3339, padded))
    return whole


def _replace_separators(texts: Sequence[str]) -> list[str] | None:
    """Converts texts of the usual form with all digits together; returns None if any has another form."""
    count, width = len(texts), _WHOLE + 1
    block = "\n".join(texts)
    if len(block) != width * count - 1 or not block.isascii() or block[_WHOLE::width] != "\n" * (count - 1):
        return None
    if any(block[place::width] != character * count for place, character in _SEPARATORS):
        return None
    # By columns of bytes: a search for separators in each text would take twice as long as everything else.
    columns = bytearray(block, "ascii")
    columns[10::width] = b"T" * count
    columns[26::width] = b"Z" * count
    del columns[27::width]
    del columns[27 :: width - 1]
    return columns.decode().split("\n")


def _padded(text: str) -> str:
    """Adds the trailing zeros of the fraction, which PostgreSQL leaves out."""
    if text[-3:] != "+00":
        return text
    if text[19:20] == ".":
        return f"{text[:-3]:0<26}+00"
    return f"{text[:-3]}.000000+00"


def is_sent_as_text(type_: TypeEngine[Any]) -> bool:
    """Whether a parameter of this type is a numeric or a timestamptz, or a list of them."""
    if isinstance(type_, ARRAY):
        return is_sent_as_text(type_.item_type)
    return isinstance(type_, Numeric) or (isinstance(type_, DateTime) and type_.timezone)


def as_text(value: Any) -> Any:
    """Returns a value as text, a list as a list of texts; None as it is."""
    if value is None or isinstance(value, str):
        return value
    return list(map(as_text, value)) if isinstance(value, (list, tuple)) else str(value)


async def set_text_codecs(connection: "Connection") -> None:
    """Makes a connection return values as this module says."""
    # asyncpg's own decoder of text, so that no Python function is called for a value.
    for name in ("uuid", "timestamptz", "numeric"):
        await connection.set_builtin_type_codec(name, schema="pg_catalog", codec_name="text", format="text")
