"""Common parts of tables: the metadata, PostgreSQL's types, and SQL for comparing and sorting columns."""

from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Integer,
    MetaData,
    Numeric,
    String,
    Text,
    case,
    func,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.types import TypeEngine

SERVICE_SCHEMA = "graphql_api"
"""The schema of the service's own tables."""

# The names that PostgreSQL itself gives to keys and constraints.
metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)
views = MetaData()

Uuid = UUID(as_uuid=False)
Timestamp = DateTime(timezone=True)
NOW = text("CURRENT_TIMESTAMP")
# The calendar that clients have. PostgreSQL's reaches from 4714 BC to 294276, where its arithmetic fails.
_FIRST_MOMENT: ColumnElement[Any] = literal_column("'0001-01-01 00:00:00+00'::timestamptz", Timestamp)
_LAST_MOMENT: ColumnElement[Any] = literal_column("'9999-12-31 23:59:59.999999+00'::timestamptz", Timestamp)


def unbounded(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    """Returns a type without its length or precision, for values that are compared with a column.

    A parameter of the column's own type would be cut or rounded to it, and so be another value.
    """
    match type_:
        case Numeric():
            return Numeric()
        case String():
            return Text()
        case _:
            return type_


def finite(column: Column[Any]) -> ColumnElement[Any]:
    """Returns a column with null for NaN, which PostgreSQL sorts after all numbers; other types as is."""
    if not isinstance(column.type, Numeric):
        return column
    return func.nullif(column, literal_column("'NaN'::numeric"), type_=column.type)


def is_in_calendar(moment: ColumnElement[Any]) -> ColumnElement[bool]:
    """Returns the condition that a moment is in the years 1 to 9999, and so neither null nor infinite."""
    return moment.between(_FIRST_MOMENT, _LAST_MOMENT)


def within_calendar(moment: ColumnElement[Any]) -> ColumnElement[Any]:
    """Returns a moment as clients see it (`type_codecs.rfc3339`): one beyond the calendar is its near end."""
    return case((moment < _FIRST_MOMENT, _FIRST_MOMENT), (moment > _LAST_MOMENT, _LAST_MOMENT), else_=moment)


def sort_key(column: Column[Any]) -> ColumnElement[Any]:
    """Returns the expression that a column is sorted by: never null, so that (key, id) can be compared.

    Null sorts as the smallest value, and so does NaN, which clients see as null.
    """
    match column.type:
        case Numeric():
            return func.coalesce(finite(column), literal_column("'-Infinity'::numeric"))
        case DateTime() if column.nullable:
            return func.coalesce(column, literal_column("'-infinity'::timestamp with time zone"))
        case Integer() if column.nullable:
            return func.coalesce(column, literal_column("'-2147483648'::integer"))
        case _ if column.nullable:
            return func.coalesce(column, literal_column("''"))
        case _:
            return column
