"""accountActivity and activityCursor: an event for each changed row of an account, and where to begin."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Final, NamedTuple

import strawberry

from graphql_api.domain.account import Account
from graphql_api.domain.account_changes import AccountChange, ChangeFilter
from graphql_api.domain.policy import ACCOUNTS, OWN_LOGS, RISK_EVENTS, RISK_SETTINGS, SESSIONS, TRADES
from graphql_api.domain.risk.events import RiskEvent
from graphql_api.execution.fields import FromLoader, FromParent, declared, resolved
from graphql_api.execution.subscriptions import Progress
from graphql_api.log_feed.errors import FeedError
from graphql_api.log_feed.feed import Feed
from graphql_api.log_feed.hub import EventBatch
from graphql_api.relational.context import Context, Row, ViewerDatabase
from graphql_api.relational.entity import Entity, loader_by_id
from graphql_api.relational.enums import value
from graphql_api.relational.errors import BadInputError, FeedEndedError
from graphql_api.relational.filters import MAX_LISTED
from graphql_api.relational.node import TYPENAME, Node
from graphql_api.relational.page_query import ROOT
from graphql_api.relational.permissions import reads_graph
from graphql_api.relational.scalars import parse_id


@strawberry.enum(description="What an event of an account is about.")
class ActivityKind(Enum):
    """The kinds of `activity.entries`, and UP_TO_DATE, which is no row's."""

    TRADE = value("TRADE", "A trade of one of its sessions.")
    SESSION = value("SESSION", "A session.")
    RISK_SETTINGS = value("RISK_SETTINGS", "Its limits.")
    ACCOUNT = value("ACCOUNT", "The account itself.")
    RISK = value("RISK", "A risk event: a limit was crossed or is kept again, or the limits were changed.")
    LOG = value("LOG", "A line of the log that is about it, as `Account.logs` has them.")
    UP_TO_DATE = value(
        "UP_TO_DATE",
        "An event without a row: everything that was committed before the subscription has been sent, and"
        " later events are live. It comes once, also if `kinds` doesn't name it.",
    )


@strawberry.enum(description="What happened to a row, for a subscriber who follows certain accounts.")
class ActivityChange(Enum):
    ADDED = value("ADDED", "It is new, or has come from another account.")
    CHANGED = value("CHANGED", "It has changed.")
    REMOVED = value(
        "REMOVED", "The row was deleted, or no longer belongs to an account that the subscriber follows."
    )


KINDS: Final[Mapping[str, Entity]] = {
    ActivityKind.TRADE.value: TRADES,
    ActivityKind.SESSION.value: SESSIONS,
    ActivityKind.RISK_SETTINGS.value: RISK_SETTINGS,
    ActivityKind.ACCOUNT.value: ACCOUNTS,
    ActivityKind.RISK.value: RISK_EVENTS,
    ActivityKind.LOG.value: OWN_LOGS,
}
"""By the kind of an entry, the rows that it names."""


class UpToDate(NamedTuple):
    """Stands for a `log_feed.Event` where the backlog ends."""

    cursor: str
    row: AccountChange = AccountChange(ActivityKind.UP_TO_DATE.value, None, None, None, None)


async def _rows(db: ViewerDatabase, ids: Sequence[str], entity: Entity) -> Mapping[str, Row]:
    """Returns the rows with these ids that the viewer may see, each with its type's name."""
    # Subscribers get their events at the same time, so that their reads share one statement.
    found = await entity.load_by_ids(db, ids, at_once=False)
    return {id_: {TYPENAME: entity.name, **row} for id_, row in found.items()}


async def _rows_by_tenant(
    db: ViewerDatabase, keys: Sequence[tuple[str, str | None]], entity: Entity
) -> Mapping[tuple[str, str | None], Row]:
    """Returns the rows with these ids, each if its tenant may see it, with its type's name."""
    found = await entity.load_by_tenant(db, keys)
    return {key: {TYPENAME: entity.name, **row} for key, row in found.items()}


def _load_node(context: Context, _: Mapping[str, Any]) -> Any:
    def load(event: Any) -> Any:
        change: AccountChange = event.row
        if change.id is None or change.change == ActivityChange.REMOVED.value:
            return None
        entity = KINDS[change.kind]
        if context.is_joint:
            return context.loaders.get_by_tenant(_rows_by_tenant, entity).load((change.id, change.tenant))
        return context.loaders.get(_rows, entity).load(change.id)

    return load


def _load_account(context: Context, _: Mapping[str, Any]) -> Any:
    if context.is_joint:
        columns = context.projection.columns(ACCOUNTS)
        by_tenant = context.loaders.get_by_tenant(ACCOUNTS.load_by_tenant, columns)
        return lambda event: (
            by_tenant.load((event.row.account_id, event.row.tenant)) if event.row.account_id else None
        )
    accounts = loader_by_id(context, ACCOUNTS)
    return lambda event: accounts.load(event.row.account_id) if event.row.account_id else None


@strawberry.type(description="A row of an account that was added, changed or removed.")
class AccountActivity:
    """Read from a `log_feed.Event` whose row is an `AccountChange`, or from UpToDate."""

    cursor: str = declared(
        "The position after this event. To resume after it, pass it as `after`; any process accepts it.",
        FromParent(lambda event: event.cursor),
    )
    kind: ActivityKind = declared(
        "What the event is about.", FromParent(lambda event: ActivityKind(event.row.kind))
    )
    change: ActivityChange | None = declared(
        "What became of the row; null for UP_TO_DATE.",
        FromParent(lambda event: event.row.change and ActivityChange(event.row.change)),
    )
    row_id: strawberry.ID | None = declared(
        "The row's UUID; null for UP_TO_DATE.", FromParent(lambda event: event.row.id)
    )
    account: Account | None = declared(
        "The account that the row belongs to, or has left; null if the account was deleted, too.",
        FromLoader(_load_account),
    )
    node: Node | None = declared(
        "The row as it is now: it may be newer than the event, but not older. Null if the row was removed.",
        FromLoader(_load_node),
    )


@dataclass(frozen=True, slots=True)
class _CursorBatch:
    """A batch that reads how far a feed has come, for ROOT."""

    feed: Feed

    async def __call__(self, _: ViewerDatabase, __: Sequence[str], ___: None) -> Mapping[str, str]:
        try:
            return {ROOT: await self.feed.now()}
        except FeedError as error:
            raise FeedEndedError(error) from error


def _load_cursor(context: Context, _: Mapping[str, Any] | None = None) -> Any:
    now = context.loaders.get(_CursorBatch(context.services.activity))
    return lambda _: now.load(ROOT)


@asynccontextmanager
async def _read_cursor_first(context: Context) -> AsyncIterator[None]:
    """Reads the cursor before everything else. If that fails, it is an error of the cursor's field alone."""
    cursor = _load_cursor(context)(None)
    await asyncio.wait([cursor])
    if cursor.exception() is not None:
        yield
        return
    async with _flush_after(context):
        yield


@asynccontextmanager
async def _flush_after(context: Context) -> AsyncIterator[None]:
    """Waits until what results show is on PostgreSQL's disk: no event would report that a crash undid it."""
    yield
    try:
        await context.services.activity.flush()
    except FeedError as error:
        raise FeedEndedError(error) from error


@strawberry.type
class Query:
    activity_cursor: str = declared(
        "A cursor of accountActivity, read before anything else in this query, wherever the field is in"
        " the document. Subscribe after it to get every change that the query doesn't show.",
        FromLoader(_load_cursor),
        check=reads_graph,
        around=_read_cursor_first,
    )


def _load_risk_event(context: Context, _: Mapping[str, Any]) -> Any:
    events = loader_by_id(context, RISK_EVENTS)
    return lambda event: None if event.row.id is None else events.load(event.row.id)


@strawberry.type(description="A risk event on its way to a subscriber.")
class RiskStatusChange:
    """Read from what an AccountActivity of the kind RISK is read from, or from UpToDate."""

    cursor: str = declared(
        "The position after this event. To resume after it, pass it as `after`; any process accepts it.",
        FromParent(lambda event: event.cursor),
    )
    event: RiskEvent | None = declared(
        "The risk event; null if `upToDate`, or if the account no longer belongs to the viewer.",
        FromLoader(_load_risk_event),
    )
    up_to_date: bool = declared(
        "True in a message without an event, which says that everything recorded before the subscription"
        " has been sent.",
        FromParent(lambda event: isinstance(event, UpToDate)),
    )


AccountIds = Annotated[
    list[strawberry.ID] | None,
    strawberry.argument(description=f"Only these accounts, at most {MAX_LISTED}; all without it."),
]
After = Annotated[
    str | None, strawberry.argument(description="Go on after this cursor; from now on without it.")
]


@strawberry.type
class Subscription:
    @resolved(
        "Changes on the viewer's accounts: an event for each row that was added, changed or removed. A"
        " client that applies the events after a cursor to the rows that it read with `activityCursor` has"
        " the rows that the database has. If this can't be guaranteed, the subscription ends with an error"
        " whose code says why.",
        check=reads_graph,
        subscription=True,
        around=_flush_after,
    )
    def account_activity(
        self,
        info: strawberry.Info[Context, None],
        account_ids: AccountIds = None,
        kinds: Annotated[
            list[ActivityKind] | None, strawberry.argument(description="Only these kinds of rows.")
        ] = None,
        after: After = None,
    ) -> AsyncGenerator[AccountActivity, None]:
        """Yields each change of the viewer's accounts, as `_follow` does."""
        return _follow(info.context, account_ids, kinds, after)

    @resolved(
        "An event when an account of the viewer crosses a limit, when it keeps the limit again, and when"
        " its limits are changed, each exactly once. If this can't be guaranteed, the subscription ends"
        " with an error whose code says why.",
        check=reads_graph,
        subscription=True,
        around=_flush_after,
    )
    def risk_status_changed(
        self, info: strawberry.Info[Context, None], account_ids: AccountIds = None, after: After = None
    ) -> AsyncGenerator[RiskStatusChange, None]:
        """Yields each risk event of the viewer's accounts, as `_follow` does."""
        return _follow(info.context, account_ids, [ActivityKind.RISK], after)


async def _follow(
    context: Context,
    account_ids: list[strawberry.ID] | None,
    kinds: list[ActivityKind] | None,
    after: str | None,
) -> AsyncGenerator[Any, None]:
    """Yields what a subscriber is sent: batches of events, UpToDate and Progress.

    Raises BadInputError and FeedEndedError.
    """
    wanted = _filter(context, account_ids, kinds)
    try:
        feed = context.services.activity
        async with await feed.subscribe(wanted, after=after, on_due=context.on_due) as events:
            yield Progress(events.cursor)
            while (step := await events.advance()) is not None:
                if isinstance(step, EventBatch):
                    yield step
                else:
                    yield UpToDate(step.cursor) if step.up_to_date else Progress(step.cursor)
    except FeedError as error:
        raise FeedEndedError(error) from error


def _filter(context: Context, account_ids: list[strawberry.ID] | None, kinds: Any) -> ChangeFilter:
    """Returns the filter of a subscriber's changes. Raises BadInputError."""
    if account_ids is not None and len(account_ids) > MAX_LISTED:
        raise BadInputError("accountIds", f"lists more than {MAX_LISTED} values")
    ids = None
    if account_ids is not None:
        ids = frozenset(parse_id(id_, f"accountIds.{place}") for place, id_ in enumerate(account_ids))
    wanted = None if kinds is None else frozenset(kind.value for kind in kinds)
    return ChangeFilter(context.db.tenant, ids, wanted)
