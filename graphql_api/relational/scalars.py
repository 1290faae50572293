"""The scalars of the API. Rows hold most values as the text that JSON has (`postgres.type_codecs`)."""

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NewType, Self
from uuid import UUID

import orjson
import strawberry
from graphql import FloatValueNode, IntValueNode, StringValueNode, ValueNode
from strawberry.types.scalar import ScalarDefinition

from graphql_api.execution.inputs import ExactFloat
from graphql_api.execution.leaf_serializers import bulk, pass_through
from graphql_api.postgres.type_codecs import NAN, rfc3339, rfc3339_all
from graphql_api.relational.errors import BadInputError, NotFiniteError
from graphql_api.relational.stored_json import MAX_DEPTH, MAX_NUMBER_LENGTH, REDACTED, TOO_DEEP, client_json

Duration = NewType("Duration", int)
"""Microseconds."""

JSON = NewType("JSON", object)
"""JSON text as a `str`, or anything else that orjson can write."""

_DECIMAL = re.compile(r"[+-]?(\d{1,100}(\.\d{0,100})?|\.\d{1,100})([eE][+-]?\d{1,3})?", re.ASCII)
_MAX_DIGITS = 100  # before the decimal point, and after it
_INFINITIES = ("Infinity", "-Infinity")
_NOT_FINITE = (NAN, *_INFINITIES)
_DATETIME = re.compile(
    r"(?P<minute>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d)(:(?P<second>\d\d)(\.(?P<fraction>\d+))?)?"
    r"(?P<offset>[Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_MICROSECOND = timedelta(microseconds=1)


class UnreadableDecimal(Decimal):
    """Stands for a client's text that is no decimal.

    It is NaN, so that no comparison takes it for a number.
    """

    RULE: Final = 'must be a decimal number, such as "1250.50" or "1E-8"'

    def __new__(cls) -> Self:
        return super().__new__(cls, "NaN")


def parse_decimal(value: Any) -> Decimal:
    """Returns the exact decimal of a text, plain or with an exponent, or of a JSON number's text.

    Returns NaN, the infinities and an UnreadableDecimal, too: the caller refuses them, and can name the
    argument. Raises ValueError for what is neither a text nor a number, and for a float whose text isn't
    known.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    text = value.text if isinstance(value, ExactFloat) else value
    if not isinstance(text, str):
        raise ValueError('Decimal must be a number, or a string such as "1250.50"')  # noqa: TRY004
    if text in _NOT_FINITE:
        return Decimal(text)
    if not _DECIMAL.fullmatch(text):
        return UnreadableDecimal()
    number = Decimal(text)
    exponent = int(number.as_tuple().exponent)
    is_short = number.adjusted() < _MAX_DIGITS and -exponent <= _MAX_DIGITS
    return number if is_short else UnreadableDecimal()


def _parse_decimal_literal(node: ValueNode, _variables: object = None) -> Decimal:
    if isinstance(node, IntValueNode | FloatValueNode | StringValueNode):
        return parse_decimal(node.value)
    raise ValueError('Decimal must be a number, or a string such as "1250.50"')


@pass_through(str, null_text=NAN, refused_character="I")
def serialize_decimal(value: Any) -> str:
    """Returns plain notation, without an exponent: "0.00000000", never "0E-8".

    Raises NotFiniteError for an infinity, which a numeric without a precision may hold.
    """
    text = value if isinstance(value, str) else format(value, "f")
    if text in _INFINITIES:
        raise NotFiniteError(text)
    return text


def parse_datetime(value: Any) -> datetime:
    """Returns an RFC 3339 date and time with an offset, in UTC. Raises ValueError naming the rule.

    Digits beyond the microsecond round up. Moments are stored in microseconds, and every DateTime input is a
    bound that a range begins with or ends before: so the rounded bound divides rows exactly as the given one.

    A leap second, :60 at the end of a month in UTC, is the moment it ends at, with a fraction too: PostgreSQL
    stores nothing within it.
    """
    parts = _DATETIME.fullmatch(value) if isinstance(value, str) else None
    if parts is None:
        raise ValueError('DateTime must be RFC 3339 with an offset, such as "2026-11-22T09:00:00Z"')
    second, fraction = parts["second"] or "00", parts["fraction"] or ""
    is_leap = second == "60"
    if is_leap:
        second, fraction = "59", "9999999"
    text = f"{parts['minute']}:{second}.{fraction[:6]:0<6}{parts['offset']}"
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except ValueError:
        raise ValueError("DateTime must be a date and a time of day that exist") from None
    except OverflowError:
        raise ValueError("DateTime must lie in the years 1 to 9999 of UTC") from None
    if is_leap and not _is_last_minute_of_month(moment):
        raise ValueError("DateTime may have a second 60 only at the end of a month in UTC")
    if not fraction[6:].strip("0"):
        return moment
    try:
        return moment + _MICROSECOND
    except OverflowError:
        return (
            moment  # the last microsecond of the year 9999: rounding up, as for .NET's last tick, leaves it
        )


def _is_last_minute_of_month(moment: datetime) -> bool:
    _, days = monthrange(moment.year, moment.month)
    return (moment.day, moment.hour, moment.minute) == (days, 23, 59)


@bulk(rfc3339_all)
def serialize_datetime(value: Any) -> str:
    """Returns RFC 3339 in UTC with microseconds and a final Z."""
    if isinstance(value, str):
        return rfc3339(value)
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def serialize_duration(microseconds: int) -> str:
    """Returns ISO 8601 in hours, minutes and seconds: PT1H30M0.5S. Days vary, so none are used."""
    sign, rest = ("-", -microseconds) if microseconds < 0 else ("", microseconds)
    minutes, rest = divmod(rest, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds, fraction = divmod(rest, 1_000_000)
    parts = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "")
    if seconds or fraction or not parts:
        parts += f"{seconds}{f'.{fraction:06}'.rstrip('0') if fraction else ''}S"
    return f"{sign}PT{parts}"


def serialize_json(value: Any) -> orjson.Fragment:
    """Returns JSON as clients may see it (`client_json`), of JSON text (a `str`) or of anything else.

    Text goes out as text, so that no number in it is read as a float.
    """
    return orjson.Fragment(client_json(value if isinstance(value, str) else orjson.dumps(value).decode()))


def parse_id(value: str, argument: str) -> str:
    """Returns a UUID in its usual form. Raises BadInputError for anything else."""
    try:
        return str(UUID(value))
    except ValueError:
        raise BadInputError(argument, "must be a UUID") from None


SCALARS: dict[object, ScalarDefinition] = {
    Decimal: strawberry.scalar(
        name="Decimal",
        description=(
            "An exact decimal number, as a JSON string in plain notation: `1250.50000000`. Input is a string,"
            " plain or with an exponent (`1E-8`), or a number, whose digits are read as they are written."
        ),
        serialize=serialize_decimal,
        parse_value=parse_decimal,
        parse_literal=_parse_decimal_literal,
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description=(
            "A moment: RFC 3339 in UTC with microseconds, `2026-11-22T09:00:00.000000Z`. Input is any RFC"
            " 3339 date and time in the years 1 to 9999. Digits beyond the microsecond round up, so that a"
            " range has the rows that it would have with all digits. A leap second, `:60`, is the moment"
            " that it ends at. A stored moment outside of these years, or an infinite one, is sent as the"
            " nearest within them: `0001-01-01T00:00:00.000000Z` or `9999-12-31T23:59:59.999999Z`."
        ),
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=serialize_datetime,
        parse_value=parse_datetime,
    ),
    Duration: strawberry.scalar(
        name="Duration",
        description=(
            "A length of time: ISO 8601 in hours, minutes and seconds, `PT1H30M`, without days however many"
            " hours it has. A negative one begins with its sign, `-PT1H30M`. Not every library reads all of"
            " these; a field beside each Duration has it in seconds."
        ),
        serialize=serialize_duration,
        parse_value=lambda _: _output_only("Duration"),
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description=(
            "Any JSON value as it is stored, with all digits of its numbers. Values under secret-looking"
            f' keys and passwords in URLs read `"{REDACTED}"`, and what nests deeper than {MAX_DEPTH} levels'
            f' `"{TOO_DEEP}"`. A number that no double holds, or of more than {MAX_NUMBER_LENGTH} characters,'
            " is a string of its digits."
        ),
        serialize=serialize_json,
        parse_value=lambda _: _output_only("JSON"),
    ),
}


def _output_only(scalar: str) -> None:
    raise ValueError(f"{scalar} is never an input")
