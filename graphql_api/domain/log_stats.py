"""How much is logged: lines counted by time, level and part of the platform."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import count
from typing import Any

import strawberry
from sqlalchemy import Text, bindparam, func, literal_column, select

from graphql_api.domain.durations import Interval
from graphql_api.domain.policy import SYSTEM_LOGS
from graphql_api.domain.system_log import LOG_LIST, LogLevel, SystemLogFilter
from graphql_api.execution.fields import FromLoader, declared
from graphql_api.postgres import tables
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.postgres.vocabularies import LEVELS
from graphql_api.relational.child_relation import ROOT
from graphql_api.relational.context import Context, Reader, Row
from graphql_api.relational.filters import Shape, Values, condition
from graphql_api.relational.permissions import reads_logs
from graphql_api.relational.relation import argument, column

MAX_BUCKETS = 2000

Wanted = tuple[str, Shape, Values]
"""The interval as PostgreSQL calls it, and a filter."""


@strawberry.type(description="How many lines of a level one part of the platform wrote in a span of time.")
class SystemLogBucket:
    """A row of `log_stats`."""

    time: datetime = column("When the span begins, in UTC.")
    level: LogLevel = column("The level.", read=LogLevel)
    component: str = column("Which part of the platform wrote them.")
    count: int = column("How many lines.")


async def log_stats(db: Reader, _keys: Sequence[str], wanted: Wanted) -> Mapping[str, list[Row]]:
    """The newest buckets, for ROOT."""
    interval, shape, values = wanted
    if not SYSTEM_LOGS.is_visible_to(db):
        return {ROOT: []}
    rows = await db.fetch(_log_stats(shape), interval=interval, **dict(values))
    return {ROOT: list(rows)}


@lru_cache(maxsize=256)
def _log_stats(shape: Shape) -> Statement:
    logs = tables.system_logs.c
    interval, timezone = bindparam("interval", type_=Text), literal_column("'UTC'", Text)
    time = func.date_trunc(interval, logs.timestamp, timezone, type_=logs.timestamp.type).label("time")
    level = LEVELS.sql(logs.level).label("level")
    query = (
        select(time, level, logs.component, func.count().label("count"))
        .where(condition(shape, count()), logs.timestamp.is_not(None))
        .group_by(time, level, logs.component)
        .order_by(time.desc(), level, logs.component)
        .limit(literal_column(str(MAX_BUCKETS)))
    )
    return compile_statement(query)


def _prepare(context: Context, arguments: Mapping[str, Any]) -> Any:
    wanted = (arguments["interval"].value.lower(), *LOG_LIST.read(arguments.get("filter")))
    return lambda _: context.loaders.of(log_stats, wanted).load(ROOT)


@strawberry.type
class Query:
    """Counts of log lines at the root."""

    system_log_stats: list[SystemLogBucket] = declared(
        f"How many log lines there are by time, level and component: the newest {MAX_BUCKETS} counts above"
        " 0, the newest first. Lines without a timestamp are in none. Needs the scope logs:read.",
        FromLoader(_prepare),
        arguments=[
            argument("filter", SystemLogFilter, "Only lines that fit; all conditions given must hold."),
            argument("interval", Interval, "How long each span is.", required=True, default=Interval.HOUR),
        ],
        check=reads_logs,
    )
