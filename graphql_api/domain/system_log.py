"""System logs: lines written by the platform's programs, read back, counted, or followed live."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any

import strawberry
from sqlalchemy import func, literal_column, select

from graphql_api.domain.account_logs import account_logs
from graphql_api.domain.policy import ACCOUNT_LOGS, SYSTEM_LOGS
from graphql_api.domain.time_buckets import Interval, group_by_bucket, zone_parameters
from graphql_api.execution.fields import FromLoader, FromParent, declared, resolved
from graphql_api.execution.subscriptions import Progress
from graphql_api.log_feed.errors import FeedError
from graphql_api.log_feed.filter import InvalidFilterError, LogFilter
from graphql_api.log_feed.hub import EventBatch
from graphql_api.postgres import tables
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.postgres.vocabularies import LOG_LEVELS
from graphql_api.relational.context import Context, Row, ViewerDatabase
from graphql_api.relational.entity import Entity
from graphql_api.relational.enums import OrderDirection, from_vocabulary, value
from graphql_api.relational.errors import BadInputError, FeedEndedError
from graphql_api.relational.filters import (
    ALL_ROWS,
    MAX_LISTED,
    MAX_TEXT,
    Comparison,
    DateTimeFilter,
    Filter,
    Operator,
    Predicate,
    RawPredicate,
    check_length,
    check_range,
    to_sql,
)
from graphql_api.relational.node import Node
from graphql_api.relational.page_query import ROOT
from graphql_api.relational.pagination import SortOrder
from graphql_api.relational.permissions import reads_logs
from graphql_api.relational.relation import Connection, ListSpec, argument, column, root_many
from graphql_api.relational.scalars import JSON, serialize_datetime

MAX_BACKFILL = 1000
MAX_BUCKETS = 2000
_COMPONENT_LENGTH = 50  # of the column


@strawberry.enum(description="How serious a line is. The column is free text: see `levelRaw`.")
class LogLevel(Enum):
    """The column's meaning, by `postgres.vocabularies.LOG_LEVELS`."""

    DEBUG = value("DEBUG", "Stored as debug, trace or verbose, or as syslog's 7 or Python's 10.")
    INFO = value("INFO", "Stored as info or notice, or as syslog's 6 or 5, or Python's 20.")
    WARNING = value("WARNING", "Stored as warning or warn, or as syslog's 4 or Python's 30.")
    ERROR = value("ERROR", "Stored as error, err or severe, or as syslog's 3 or Python's 40.")
    CRITICAL = value(
        "CRITICAL",
        "Stored as critical, crit, fatal, alert, emerg or panic, or as syslog's 2 to 0 or Python's 50.",
    )
    OTHER = value("OTHER", "Stored as anything else; the least serious.")


@strawberry.type(description="A line of the platform's log.")
class SystemLog(Node, rows_of=SYSTEM_LOGS):
    """A row of system_logs."""

    timestamp: datetime | None = column("When it was written, by the writer's word.")
    level: LogLevel = column("How serious it is.", convert=from_vocabulary(LogLevel, LOG_LEVELS))
    level_raw: str = column("The level as it is stored.", name="level")
    component: str = column("Which part of the platform wrote it.")
    message: str = column("What it says.")
    details: JSON | None = column(
        "Further details, as the program wrote them. Values under keys that look like secrets are redacted."
    )


@strawberry.input(
    description="Conditions on log lines, the same for history, backfill and live; all given must hold."
)
class SystemLogFilter:
    levels: list[LogLevel] | None = strawberry.field(
        default=strawberry.UNSET, description="With one of these levels."
    )
    min_level: LogLevel | None = strawberry.field(
        default=strawberry.UNSET, description="At least this serious."
    )
    components: list[str] | None = strawberry.field(
        default=strawberry.UNSET, description=f"Written by one of these parts, at most {MAX_LISTED}."
    )
    search: str | None = strawberry.field(
        default=strawberry.UNSET,
        description=(
            "Only lines whose message contains this text. The case of letters without accents is ignored."
        ),
    )
    timestamp: DateTimeFilter | None = strawberry.field(
        default=strawberry.UNSET, description="Written in this range."
    )


def log_filter(given: SystemLogFilter | None) -> LogFilter:
    """Returns the log feed's filter for an input. Raises BadInputError."""
    if given is None:
        return LogFilter()
    timestamp = given.timestamp or DateTimeFilter()
    if given.components and len(given.components) > MAX_LISTED:
        raise BadInputError("filter.components", f"lists more than {MAX_LISTED} values")
    for component in given.components or ():
        check_length(component, "filter.components", _COMPONENT_LENGTH)
    check_length(given.search or "", "filter.search", MAX_TEXT)
    check_range(timestamp, "filter.timestamp")
    try:
        return LogFilter(
            levels=_set(given.levels, lambda level: level.value),
            minimum_level=given.min_level.value if given.min_level else None,
            components=_set(given.components, str),
            search=given.search or None,
            since=serialize_datetime(timestamp.gte) if timestamp.gte else None,
            until=serialize_datetime(timestamp.lt) if timestamp.lt else None,
            dated=not timestamp.is_null if isinstance(timestamp.is_null, bool) else None,
        )
    except InvalidFilterError as error:
        name, _, rule = str(error).partition(": ")
        raise BadInputError(f"filter.{name}", rule) from None


def _set(given: Any, word: Any) -> frozenset[str] | None:
    """Returns a list as a set; None if it wasn't given, since an empty list matches no line."""
    return frozenset(map(word, given)) if isinstance(given, list) else None


def _parse_account_filter(given: SystemLogFilter) -> Filter:
    """Returns the filter of an account's lines.

    A range of `timestamp` also bounds the rows of account_logs.
    """
    filter_ = _parse_filter(given, ACCOUNT_LOGS)
    values = dict(filter_.parameters)
    bounds: tuple[tuple[Operator, str], ...] = (("gte", "log_since"), ("lt", "log_until"))
    return filter_.narrowed(
        *(Comparison(account_logs.c.at, operator, name) for operator, name in bounds if values.get(name))
    )


def _parse_filter(given: SystemLogFilter, entity: Entity = SYSTEM_LOGS) -> Filter:
    wanted = log_filter(given)
    if wanted == LogFilter():
        return ALL_ROWS
    parameters = tuple(
        (name, tuple(value) if isinstance(value, list) else value) for name, value in wanted.values().items()
    )
    return Filter(RawPredicate((entity, wanted.shape), wanted.where(entity.table)), parameters)


@strawberry.enum(description="What log lines can be sorted by.")
class SystemLogOrderField(Enum):
    TIMESTAMP = value("TIMESTAMP", "When they were written.")


@strawberry.input(description="How to sort log lines.")
class SystemLogOrder:
    field: SystemLogOrderField = strawberry.field(description="What to sort by.")
    direction: OrderDirection = strawberry.field(
        default=OrderDirection.DESC, description="Which end comes first."
    )


LOG_LIST = ListSpec(
    SYSTEM_LOGS,
    default_order=SortOrder(tables.system_logs.c.timestamp),
    filter_input=SystemLogFilter,
    order_input=SystemLogOrder,
    order_columns={SystemLogOrderField.TIMESTAMP: tables.system_logs.c.timestamp},
    parse_filter=_parse_filter,
)

ACCOUNT_LOG_LIST = ListSpec(
    ACCOUNT_LOGS,
    default_order=SortOrder(account_logs.c.at),
    filter_input=SystemLogFilter,
    order_input=SystemLogOrder,
    order_columns={SystemLogOrderField.TIMESTAMP: account_logs.c.at},
    parse_filter=_parse_account_filter,
)

SystemLogConnection = Connection[SystemLog]


LogStatsRequest = tuple[Interval, Filter]
"""The length of the buckets, and a filter of log lines."""


@strawberry.type(
    description="The number of lines of one level that one part of the platform wrote in a span of time."
)
class SystemLogBucket:
    """A row of `log_stats`."""

    time: datetime = column("When the span begins, in UTC.")
    level: LogLevel = column("The level.", convert=LogLevel)
    component: str = column("Which part of the platform wrote them.")
    count: int = column("How many lines.")


async def log_stats(
    db: ViewerDatabase, _keys: Sequence[str], request: LogStatsRequest
) -> Mapping[str, list[Row]]:
    """Returns the newest counts, for ROOT: rows with the fields of SystemLogBucket."""
    interval, chosen = request
    if not SYSTEM_LOGS.is_visible_to(db):
        return {ROOT: []}
    statement = _log_stats(interval, chosen.predicate)
    rows = await db.fetch(statement, **zone_parameters("UTC"), **dict(chosen.parameters))
    return {ROOT: list(rows)}


@lru_cache(maxsize=256)
def _log_stats(interval: Interval, predicate: Predicate) -> Statement:
    logs = tables.system_logs.c
    level = LOG_LEVELS.sql(logs.level).label("level")
    counts = (
        select(level, logs.component, func.count().label("count"))
        .where(to_sql(predicate), logs.timestamp.is_not(None))
        .group_by(level, logs.component)
    )
    buckets = group_by_bucket(counts, interval, logs.timestamp)
    newest = (buckets.c.time.desc(), buckets.c.level, buckets.c.component)
    query = select(buckets).order_by(*newest).limit(literal_column(str(MAX_BUCKETS)))
    return compile_statement(query)


def _prepare_log_stats(context: Context, arguments: Mapping[str, Any]) -> Any:
    request = (arguments["interval"], LOG_LIST.filter(arguments))
    return lambda _: context.loaders.get(log_stats, request).load(ROOT)


@strawberry.type
class Query:
    system_logs: SystemLogConnection = root_many(
        "The log, the newest line first. Needs the scope logs:read.", LOG_LIST, check=reads_logs
    )
    system_log_stats: list[SystemLogBucket] = declared(
        f"How many log lines there are by time, level and component: the newest {MAX_BUCKETS} counts above"
        " 0, the newest first. Lines without a timestamp are in none. Needs the scope logs:read.",
        FromLoader(_prepare_log_stats),
        arguments=[
            argument("filter", SystemLogFilter, "Only lines that fit; all conditions given must hold."),
            argument("interval", Interval, "How long each span is.", required=True, default=Interval.HOUR),
        ],
        check=reads_logs,
    )


@strawberry.type(description="A log line on its way to a subscriber.")
class SystemLogEvent:
    """Read from a `log_feed.Event`."""

    cursor: str = declared(
        "The position after this line. To resume after it, pass it as `after`; any process accepts it.",
        FromParent(lambda event: event.cursor),
    )
    log: SystemLog = declared("The line.", FromParent(lambda event: event.row))
    replayed: bool = declared(
        "Whether the line was there before the subscription.", FromParent(lambda event: event.replayed)
    )


@strawberry.type
class Subscription:
    @resolved(
        "New log lines of all programs, each exactly once. If a program has seen a line committed before"
        " it writes its own, that line comes first. If this can't be guaranteed, the subscription ends"
        " with an error whose code says why. Needs the scope logs:read.",
        check=reads_logs,
        subscription=True,
    )
    async def system_log_added(
        self,
        info: strawberry.Info[Context, None],
        filter: Annotated[
            SystemLogFilter | None, strawberry.argument(description="Only lines that fit.")
        ] = None,
        after: Annotated[
            str | None, strawberry.argument(description="Go on after this cursor, however old.")
        ] = None,
        backfill: Annotated[
            int,
            strawberry.argument(description=f"First the newest so many lines that fit, 0 to {MAX_BACKFILL}."),
        ] = 0,
    ) -> AsyncGenerator[SystemLogEvent, None]:
        """Yields batches of events of the process's feed, and Progress where there are none."""
        if not 0 <= backfill <= MAX_BACKFILL:
            raise BadInputError("backfill", f"must be between 0 and {MAX_BACKFILL}")
        try:
            feed, on_due = info.context.services.feed, info.context.on_due
            async with await feed.subscribe(
                log_filter(filter), after=after, backfill=backfill, on_due=on_due
            ) as events:
                # At once, so that clients know from when on every committed line reaches them.
                if not events.is_live:
                    yield Progress(events.cursor)  # type: ignore[misc] # not an event
                while (step := await events.advance()) is not None:
                    if isinstance(step, EventBatch):
                        yield step  # type: ignore[misc] # what each SystemLogEvent is read from
                    else:
                        yield Progress(step.cursor, step.up_to_date)  # type: ignore[misc] # not an event
        except FeedError as error:
            raise FeedEndedError(error) from error
