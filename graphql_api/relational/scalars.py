"""The scalars of the API. Rows hold their values as JSON-ready text already (`postgres.type_codecs`)."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NewType
from uuid import UUID

import orjson
import strawberry
from strawberry.types.scalar import ScalarDefinition

from graphql_api.execution.leaf_serializers import at_once, unchanged
from graphql_api.postgres.type_codecs import rfc3339, rfc3339_all
from graphql_api.relational.errors import BadInputError

Duration = NewType("Duration", int)
"""Microseconds."""

JSON = NewType("JSON", object)
"""JSON text, or anything orjson can write."""

_DECIMAL = re.compile(r"[+-]?(\d{1,100}(\.\d{0,100})?|\.\d{1,100})", re.ASCII)
_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
_DATETIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_decimal(value: Any) -> Decimal:
    """A decimal from a JSON string in plain notation, or an integer. Never from a float.

    NaN and the infinities pass, so that whoever uses the value can name the field that must be finite.
    Raises ValueError naming the rule.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and (_DECIMAL.fullmatch(value) or value in _NOT_FINITE):
        return Decimal(value)
    raise ValueError('Decimal must be a string in plain notation, such as "1250.50"')


@unchanged(str)
def serialize_decimal(value: Any) -> str:
    """Plain notation, whatever the magnitude: "0.00000000", never "0E-8"."""
    return value if isinstance(value, str) else format(value, "f")


def parse_datetime(value: Any) -> datetime:
    """An RFC 3339 date and time with an offset, in UTC. Raises ValueError naming the rule."""
    if isinstance(value, str) and _DATETIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError("DateTime must be a date that exists") from None
    raise ValueError('DateTime must be RFC 3339 with an offset, such as "2026-11-22T09:00:00Z"')


@at_once(rfc3339_all)
def serialize_datetime(value: Any) -> str:
    """RFC 3339 in UTC with microseconds and a final Z."""
    if isinstance(value, str):
        return rfc3339(value)
    return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def serialize_duration(microseconds: int) -> str:
    """ISO 8601 in hours, minutes and seconds: PT1H30M0.5S. Days vary with the clock, so none are used."""
    sign, rest = ("-", -microseconds) if microseconds < 0 else ("", microseconds)
    minutes, rest = divmod(rest, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds, fraction = divmod(rest, 1_000_000)
    parts = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "")
    if seconds or fraction or not parts:
        parts += f"{seconds}{f'.{fraction:06}'.rstrip('0') if fraction else ''}S"
    return f"{sign}PT{parts}"


def serialize_json(value: Any) -> orjson.Fragment:
    """JSON text goes to the client as it stands, so that no number in it is read as a float."""
    return orjson.Fragment(value if isinstance(value, str | bytes) else orjson.dumps(value))


def parse_id(value: str, argument: str) -> str:
    """A UUID in its usual form. Raises BadInputError for anything else."""
    try:
        return str(UUID(value))
    except ValueError:
        raise BadInputError(argument, "must be a UUID") from None


SCALARS: dict[object, ScalarDefinition] = {
    Decimal: strawberry.scalar(
        name="Decimal",
        description="An exact decimal number, as a JSON string in plain notation: `1250.50000000`.",
        serialize=serialize_decimal,
        parse_value=parse_decimal,
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description=(
            "A moment: RFC 3339 in UTC with microseconds, `2026-11-22T09:00:00.000000Z`."
            " Input needs an offset."
        ),
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339",
        serialize=serialize_datetime,
        parse_value=parse_datetime,
    ),
    Duration: strawberry.scalar(
        name="Duration",
        description="A length of time: ISO 8601 in hours, minutes and seconds, `PT1H30M`.",
        serialize=serialize_duration,
        parse_value=lambda _: _output_only("Duration"),
    ),
    JSON: strawberry.scalar(
        name="JSON",
        description="Any JSON value, as it is stored. Values under secret-looking keys are redacted.",
        serialize=serialize_json,
        parse_value=lambda _: _output_only("JSON"),
    ),
}


def _output_only(scalar: str) -> None:
    raise ValueError(f"{scalar} is never an input")
