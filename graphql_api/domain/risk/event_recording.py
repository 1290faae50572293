"""Records when accounts cross their limits and keep them again, and changes of limits by other programs.

One process of a deployment keeps the risk state in memory: of every account with limits, the trades that
count today. Each poll updates it with all that was committed since the last one, compares the affected
accounts with their limits, and records in one transaction which limits are newly exceeded or kept again.
There are five polls a second while something happens; a crossing that is undone between two polls is not
recorded. A process that takes over recording loads the state from the tables.

Most polls find only changed trades, and few of these change a value that limits are compared with: one
statement reads them, and nothing is written.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache, partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import asyncpg
import orjson
from sqlalchemy import (
    ColumnElement,
    any_,
    bindparam,
    column,
    delete,
    func,
    literal_column,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import UUID, distinct_on

from graphql_api.domain.account_changes import CHANGES
from graphql_api.domain.risk.events import MAX_TRADES, RiskEventKind, RiskLimitsAuthor
from graphql_api.domain.risk.settings import limits_as_json
from graphql_api.domain.risk.status import LimitUsage, RiskLimit, counts_today, exceeds_risk, limit_usage
from graphql_api.domain.statistics.trade_set import PNL, STATUS, TRADE_COUNTS_AT, is_status
from graphql_api.domain.time_buckets import Interval, bucket_start, zone_parameters
from graphql_api.log_feed.errors import FeedUnavailableError
from graphql_api.log_feed.incarnation import enter_incarnation
from graphql_api.log_feed.polling import GENERIC_PLANS
from graphql_api.log_feed.recorder import PollResult
from graphql_api.postgres import tables
from graphql_api.postgres.statement import Fetch, Statement, compile_statement, fetch_on
from graphql_api.postgres.tables import finite, sort_key
from graphql_api.postgres.tables.base import Timestamp
from graphql_api.relational.entity import UUIDS

_AT_ONCE: Final = 500  # accounts, sessions or trades in one statement
_MAX_CHANGES: Final = 20_000  # beyond which the state is loaded again
_LIMITS_OF_A_DAY: Final = frozenset({RiskLimit.MAX_DAILY_LOSS, RiskLimit.RISK_PER_TRADE})

_trades, _sessions, _settings = tables.trades.c, tables.sessions.c, tables.risk_settings.c
_ids = bindparam("ids", type_=UUIDS)
_is_open = is_status(STATUS, "OPEN")

_present = bindparam("present", type_=Timestamp)
_now: ColumnElement[datetime] = func.coalesce(_present, func.now())

_POLL_COLUMNS = select(
    func.coalesce(_present, func.clock_timestamp()).label("now"),
    bucket_start(Interval.DAY, _now).label("midnight"),
    func.pg_current_snapshot().label("snapshot"),
    literal_column("(SELECT id FROM activity.current_incarnation)").label("incarnation"),
)
_POLL_STATE = compile_statement(_POLL_COLUMNS)

# Entries committed since a snapshot: by transactions that were in progress and have ended, and by later ones.
# So each entry is read once, however long its transaction takes.
_ENTRIES = """
    SELECT * FROM activity.entries WHERE kind = ANY ({kinds}) AND xid = ANY (ARRAY(
        SELECT xid FROM unnest(CAST(:in_progress AS xid8[])) AS xid
        WHERE pg_visible_in_snapshot(xid, pg_current_snapshot())))
    UNION ALL
    (SELECT * FROM activity.entries WHERE kind = ANY ({kinds}) AND xid >= CAST(:xmax AS xid8)
     ORDER BY xid, id LIMIT CAST(:rows AS integer))
    LIMIT CAST(:rows AS integer)
"""
_ROWS = "'{TRADE,SESSION,RISK_SETTINGS,ACCOUNT}'"
_ROWS_AND_EVENTS = "'{TRADE,SESSION,RISK_SETTINGS,ACCOUNT,RISK}'"
_CHANGES = compile_statement(
    text(f"""
        WITH entries AS MATERIALIZED ({_ENTRIES.format(kinds=_ROWS_AND_EVENTS)})
        SELECT entries.kind, coalesce(row_id, entries.id) AS row_id, entries.account_id AS former_account_id,
               coalesce(settings.account_id, event.account_id) AS account_id, event.number, event.limits_after
        FROM entries
        LEFT JOIN LATERAL (
            SELECT account_id FROM risk_settings
            WHERE entries.kind = 'RISK_SETTINGS' AND risk_settings.id = row_id OFFSET 0
        ) AS settings ON true
        LEFT JOIN LATERAL (
            SELECT account_id, number, limits_after FROM graphql_api.risk_events AS event
            WHERE entries.kind = 'RISK' AND event.id = row_id
              AND event.kind = 'LIMITS_CHANGED' AND event.author <> 'PROGRAM' OFFSET 0
        ) AS event ON true
    """)  # noqa: S608 - our own text
)

_TRADES_TODAY = (
    select(
        _trades.id,
        _trades.session_id,
        _sessions.account_id,
        finite(_sessions.initial_balance).label("initial_balance"),
        _is_open.label("is_open"),
        PNL.label("pnl"),
        finite(_trades.size).label("size"),
        _trades.entry_time,
    )
    .select_from(tables.trades.join(tables.sessions, _sessions.id == _trades.session_id))
    .where(or_(_is_open, counts_today(STATUS, TRADE_COUNTS_AT, _now)))
)


@cache
def _trades_by(column: ColumnElement[Any]) -> Statement:
    """Reads the trades that count today, by :ids in a column."""
    return compile_statement(_TRADES_TODAY.where(column == any_(_ids)))


@cache
def _changed_trades() -> Statement:
    """Reads in one snapshot what `_POLL_STATE` and `_CHANGES` do and, of changed trades, those of today."""
    poll = _POLL_COLUMNS.cte("poll").prefix_with("MATERIALIZED")
    entries = (
        text(_ENTRIES.format(kinds=_ROWS))
        .columns(column("kind"), column("id", UUID(as_uuid=False)))
        .cte("entries")
    )
    trade = (
        _TRADES_TODAY.where(entries.c.kind == literal_column("'TRADE'"), _trades.id == entries.c.id)
        .correlate(entries)
        .offset(literal_column("0"))
        .lateral("trade")
    )
    found = poll.join(entries, true(), isouter=True).join(trade, true(), isouter=True)
    changed = entries.c.id.label("changed_id")
    return compile_statement(select(*poll.c, entries.c.kind, changed, *trade.c).select_from(found))


@cache
def _limits_in_force(*, every: bool) -> Statement:
    """Reads the limits in force of the accounts :ids, or of every account that has settings."""
    query = (
        select(_settings.account_id, limits_as_json(_settings).label("limits"))
        .ext(distinct_on(_settings.account_id))
        .where(_settings.account_id.is_not(None) if every else _settings.account_id == any_(_ids))
        .order_by(_settings.account_id, sort_key(_settings.updated_at).desc(), _settings.id.desc())
    )
    return compile_statement(query)


_EXISTING_ACCOUNTS = compile_statement(select(tables.accounts.c.id).where(tables.accounts.c.id == any_(_ids)))

# Accounts that are gone and have events or a limit state. Each account with events is found by one step in
# the index of a page, since an account may have many.
_GONE_ACCOUNTS = compile_statement(
    text("""
        WITH RECURSIVE with_events (account_id) AS (
            (SELECT account_id FROM graphql_api.risk_events ORDER BY account_id LIMIT 1)
            UNION ALL
            SELECT (SELECT event.account_id FROM graphql_api.risk_events AS event
                    WHERE event.account_id > with_events.account_id ORDER BY event.account_id LIMIT 1)
            FROM with_events WHERE account_id IS NOT NULL
        )
        SELECT account_id FROM (
            SELECT account_id FROM with_events UNION SELECT account_id FROM graphql_api.risk_standings
        ) AS known
        WHERE account_id IS NOT NULL
          AND NOT EXISTS (SELECT FROM tradelocker_accounts AS account WHERE account.id = account_id)
    """)
)

# Returns a row if no process has recorded before.
_BEGIN = compile_statement(
    text("""
        INSERT INTO graphql_api.recorders (name, cursor, state) VALUES ('risk_events', '', '{}')
        ON CONFLICT DO NOTHING RETURNING name
    """)
)
_LIMIT_STATES = compile_statement(
    text("SELECT account_id, limits, exceeded, mutation FROM graphql_api.risk_standings")
)
# The last event of a mutation that no poll has seen, of each account that has one.
UNSEEN_MUTATIONS = compile_statement(
    text("""
        SELECT account.id AS account_id, last.number, last.limits_after
        FROM unnest(CAST(:ids AS uuid[])) AS account (id)
        LEFT JOIN graphql_api.risk_standings AS standing ON standing.account_id = account.id
        CROSS JOIN LATERAL (
            SELECT number, limits_after FROM graphql_api.risk_events AS event
            WHERE event.account_id = account.id AND author <> 'PROGRAM'
              AND number > coalesce(standing.mutation, 0)
            ORDER BY number DESC LIMIT 1
        ) AS last
    """)
)
_RECORD = compile_statement(
    text("""
        WITH recorded AS (
            INSERT INTO graphql_api.risk_events
                (account_id, at, kind, risk_limit, value, allowed, since, trades,
                 limits_before, limits_after, author)
            SELECT account_id, at, kind, risk_limit, value, allowed, since, trades,
                   limits_before, limits_after, author
            FROM jsonb_populate_recordset(CAST(NULL AS graphql_api.risk_events), CAST(:events AS jsonb))
            ORDER BY at
            RETURNING id, account_id
        ),
        announced AS (
            INSERT INTO activity.entries (xid, id, kind, change, row_id, account_id)
            SELECT pg_current_xact_id(), gen_random_uuid(), 'RISK', 'ADDED', id, account_id FROM recorded
        )
        SELECT activity.notify_readers()
    """)
)
_SAVE_LIMIT_STATES = compile_statement(
    text("""
        INSERT INTO graphql_api.risk_standings (account_id, limits, exceeded, mutation)
        SELECT account_id, limits, exceeded, mutation
        FROM jsonb_populate_recordset(CAST(NULL AS graphql_api.risk_standings), CAST(:states AS jsonb))
        ON CONFLICT (account_id) DO UPDATE
            SET limits = excluded.limits, exceeded = excluded.exceeded, mutation = excluded.mutation
    """)
)
_FORGET = tuple(
    compile_statement(delete(table).where(table.c.account_id == any_(_ids)))
    for table in (tables.risk_standings, tables.risk_events)
)

LimitValues = Mapping[str, Any]
"""Limits by column, with values as `limits_as_json` returns them."""


class Mutation(NamedTuple):
    """A change of limits that a mutation has recorded itself."""

    number: int | None
    """The number of its event; None for an account without one."""
    limits_after: LimitValues | None


@dataclass(slots=True)
class CommittedChanges:
    """What was committed since the last poll: ids of changed rows, and of accounts whose settings changed."""

    trades: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    limits: set[str] = field(default_factory=set)
    """Ids of accounts."""
    accounts: set[str] = field(default_factory=set)
    mutations: dict[str, Mutation] = field(default_factory=dict)
    """The last mutation of each account."""

    @classmethod
    def of(cls, entries: Iterable[asyncpg.Record]) -> "CommittedChanges":
        """Returns the changes in rows of `_CHANGES`."""
        changes = cls()
        for entry in entries:
            match entry["kind"]:
                case "TRADE":
                    changes.trades.add(entry["row_id"])
                case "SESSION":
                    changes.sessions.add(entry["row_id"])
                case "RISK_SETTINGS":
                    changes.limits |= {entry["account_id"], entry["former_account_id"]} - {None}
                case "ACCOUNT":
                    changes.accounts.add(entry["row_id"])
                case "RISK" if entry["number"] is not None:
                    last = changes.mutations.get(entry["account_id"])
                    if last is None or (last.number or 0) < entry["number"]:
                        limits = orjson.loads(entry["limits_after"])
                        changes.mutations[entry["account_id"]] = Mutation(entry["number"], limits)
        return changes


@dataclass(slots=True)
class TrackedAccount:
    """An account, its limits and the trades that may exceed them."""

    limits: LimitValues | None = None
    """Those in force; None without settings."""
    trades: dict[str, asyncpg.Record] = field(default_factory=dict)
    """The trades that count today, by id, if there are limits."""

    @property
    def has_limits(self) -> bool:
        return any(limit is not None for limit in _numbers(self.limits).values())

    def by_session(self) -> list[dict[str, Any]]:
        """Returns the sums by session that `limit_usage` takes."""
        sessions: dict[str, list[asyncpg.Record]] = defaultdict(list)
        for trade in self.trades.values():
            sessions[trade["session_id"]].append(trade)
        return [_sum_up(trades) for trades in sessions.values()]

    def offending_trades(self, limit: RiskLimit, allowed: Any) -> list[str]:
        """Returns the ids of the trades that exceed a limit, the largest or the newest first."""
        opened = [each for each in self.trades.values() if each["is_open"]]
        closed = [each for each in self.trades.values() if not each["is_open"] and each["pnl"] is not None]
        losses = [each for each in closed if Decimal(each["pnl"]) < 0]
        losses.sort(key=lambda each: Decimal(each["pnl"]))
        match limit:
            case RiskLimit.MAX_DAILY_LOSS:
                found = losses
            case RiskLimit.RISK_PER_TRADE:
                found = [e for e in losses if exceeds_risk(e["pnl"], e["initial_balance"], allowed)]
            case RiskLimit.MAX_OPEN_POSITIONS:
                found = sorted(opened, key=lambda each: str(each["entry_time"]), reverse=True)
            case RiskLimit.MAX_POSITION_SIZE:
                found = [e for e in opened if e["size"] is not None and Decimal(e["size"]) > allowed]
                found.sort(key=lambda each: Decimal(each["size"]), reverse=True)
        return [each["id"] for each in found[:MAX_TRADES]]


def _numbers(limits: LimitValues | None) -> dict[str, Any]:
    """Returns limits as `limit_usage` takes them: NaN is no limit."""
    return {name: None if limit == "NaN" else limit for name, limit in (limits or {}).items()}


def _compared_values(trade: asyncpg.Record) -> tuple[Any, ...]:
    """Returns the values of a trade that limits are compared with."""
    pnl_or_size = trade["size"] if trade["is_open"] else trade["pnl"]
    return (
        *(trade["account_id"], trade["session_id"], trade["initial_balance"]),
        *(trade["is_open"], pnl_or_size),
    )


def _sum_up(trades: Sequence[asyncpg.Record]) -> dict[str, Any]:
    """Returns the sums of a session that `limit_usage` takes, from its trades that count today.

    `status._by_session` computes the same sums in SQL. Here they are computed from the trades in memory;
    otherwise each change of a trade would make a poll read all trades of its account again.
    """
    pnls = [Decimal(each["pnl"]) for each in trades if not each["is_open"] and each["pnl"] is not None]
    opened = [each for each in trades if each["is_open"]]
    sizes = (Decimal(each["size"]) for each in opened if each["size"] is not None)
    return {
        "initial_balance": trades[0]["initial_balance"],
        "daily_pnl": sum(pnls, Decimal(0)),
        "worst_pnl": min(pnls, default=None),
        "open_positions": len(opened),
        "largest_position": max(sizes, default=None),
    }


class RiskState:
    """The accounts that have or had settings, and the trades that count today of those that have limits.

    All is as of one snapshot: that of the transaction in which the state was updated.
    """

    def __init__(self, midnight: str) -> None:
        """`midnight` is when the day began."""
        self.accounts: dict[str, TrackedAccount] = {}
        self.midnight = midnight
        self._account_of_trade: dict[str, str] = {}
        self._trades_of_session: dict[str, set[str]] = defaultdict(set)

    def limits_of(self, id_: str) -> LimitValues | None:
        """Returns the limits in force of an account; None without settings."""
        account = self.accounts.get(id_)
        return None if account is None else account.limits

    async def load(self, fetch: Fetch) -> None:
        """Reads the limits and trades of all accounts."""
        for row in await fetch(_limits_in_force(every=True)):
            self.accounts[row["account_id"]] = TrackedAccount(orjson.loads(row["limits"]))
        limited = [id_ for id_, account in self.accounts.items() if account.has_limits]
        await self._add_trades(fetch, _sessions.account_id, limited)

    async def apply(self, fetch: Fetch, changes: CommittedChanges, midnight: str) -> set[str]:
        """Updates the state. Returns the ids of the affected accounts."""
        affected, trades = set(changes.limits), set(changes.trades)
        if midnight != self.midnight:  # trades that closed before midnight don't count today
            self.midnight = midnight
            trades |= self._closed_trades()
        in_sessions = [self._trades_of_session.get(id_, set()) for id_ in changes.sessions]
        affected |= self._drop(trades.union(*in_sessions))
        affected |= await self._add_trades(fetch, _trades.id, trades)
        affected |= await self._add_trades(fetch, _trades.session_id, changes.sessions)
        await self._reload_limits(fetch, changes.limits)
        return affected

    def update_trades(self, ids: Iterable[str], rows: Iterable[asyncpg.Record]) -> set[str]:
        """Replaces the trades `ids` by those of `rows`, or removes them.

        Returns the ids of the accounts for which a value has changed that limits are compared with.
        """
        affected: set[str] = set()
        remaining = {row["id"]: row for row in rows if self._has_limits(row["account_id"])}
        for id_ in ids:
            row, account_id = remaining.get(id_), self._account_of_trade.get(id_)
            former = None if account_id is None else self.accounts[account_id].trades[id_]
            if row is None or former is None or _compared_values(row) != _compared_values(former):
                affected |= self._drop((id_,)) if row is None else {*self._drop((id_,)), row["account_id"]}
            if row is not None:
                self._put(row)
        return affected

    def forget(self, ids: AbstractSet[str]) -> None:
        """Removes accounts that are gone."""
        for id_ in ids & self.accounts.keys():
            self._drop(set(self.accounts[id_].trades))
            del self.accounts[id_]

    async def _reload_limits(self, fetch: Fetch, ids: Iterable[str]) -> None:
        limited = []
        for chunk in _chunks(ids):
            rows = await fetch(_limits_in_force(every=False), ids=chunk)
            in_force = {row["account_id"]: orjson.loads(row["limits"]) for row in rows}
            for id_ in chunk:
                account = self.accounts.setdefault(id_, TrackedAccount())
                had_limits, account.limits = account.has_limits, in_force.get(id_)
                if not account.has_limits:
                    self._drop(set(account.trades))
                elif not had_limits:
                    limited.append(id_)
        await self._add_trades(fetch, _sessions.account_id, limited)

    async def _add_trades(self, fetch: Fetch, column: ColumnElement[Any], ids: Iterable[str]) -> set[str]:
        """Adds the trades that count today of accounts with limits. Returns the ids of these."""
        affected = set()
        for chunk in _chunks(ids):
            for row in await fetch(_trades_by(column), ids=chunk):
                if self._has_limits(row["account_id"]):
                    self._put(row)
                    affected.add(row["account_id"])
        return affected

    def _put(self, trade: asyncpg.Record) -> None:
        self.accounts[trade["account_id"]].trades[trade["id"]] = trade
        self._account_of_trade[trade["id"]] = trade["account_id"]
        self._trades_of_session[trade["session_id"]].add(trade["id"])

    def _has_limits(self, id_: str) -> bool:
        account = self.accounts.get(id_)
        return account is not None and account.has_limits

    def _drop(self, trades: Iterable[str]) -> set[str]:
        """Removes trades. Returns the ids of their accounts."""
        affected = set()
        for id_ in trades:
            account_id = self._account_of_trade.pop(id_, None)
            if account_id is not None:
                session_id = self.accounts[account_id].trades.pop(id_)["session_id"]
                self._trades_of_session[session_id].discard(id_)
                if not self._trades_of_session[session_id]:
                    del self._trades_of_session[session_id]
                affected.add(account_id)
        return affected

    def _closed_trades(self) -> set[str]:
        return {
            id_
            for account in self.accounts.values()
            for id_, trade in account.trades.items()
            if not trade["is_open"]
        }


def _chunks(ids: Iterable[str]) -> Iterator[list[str]]:
    every = sorted(ids)
    for first in range(0, len(every), _AT_ONCE):
        yield every[first : first + _AT_ONCE]


@dataclass(slots=True)
class LimitState:
    """The limits of an account at the last poll that affected it, and which of them were exceeded."""

    limits: LimitValues | None
    exceeded: dict[str, dict[str, str]]
    """The limits that were exceeded, each with `since` when, and the `midnight` at the start of that day."""
    mutation: int | None
    """The number of the last mutation's event that a poll has seen: later ones have changed the limits."""


class RiskEventRecording:
    """The recording of graphql_api.risk_events, from the feed of changes."""

    name = "risk_events"
    lock = 7813585365

    def __init__(self, timezone: str) -> None:
        """`timezone` is the time zone in which a day begins at midnight."""
        self.present: str | None = None
        """The time that counts as now; None for the database's own."""
        self._zone = zone_parameters(timezone)
        self._state: RiskState | None = None
        self._limit_states: dict[str, LimitState] = {}
        self._snapshot: Any = None
        self._incarnation: int | None = None

    async def begin(self, connection: "asyncpg.Connection") -> None:
        """Begins without a state: the first poll loads it."""
        await enter_incarnation(connection, CHANGES)
        for name, value in GENERIC_PLANS.items():
            await connection.execute(f"SET {name} = {value}")
        self._state = None

    async def poll(self, connection: "asyncpg.Connection") -> PollResult:
        """Records events of the accounts that are affected by recent commits, or by midnight."""
        fetch = partial(fetch_on(connection), present=self.present, **self._zone)
        state, self._state = self._state, None  # a poll that fails leaves it half updated
        found = None if state is None else await self._poll_trades(connection, fetch, state)
        if found is None:
            async with connection.transaction(isolation="repeatable_read"):
                found = await self._poll_all(fetch, state)
        else:
            self._state = state
        return PollResult(found=found)

    async def _poll_trades(
        self, connection: "asyncpg.Connection", fetch: Fetch, state: RiskState
    ) -> bool | None:
        """Polls with one statement. Returns whether it has found anything.

        Returns None, and does nothing, if more has changed than some trades.
        """
        _, xmax, in_progress = self._snapshot
        rows = await fetch(_changed_trades(), in_progress=in_progress, xmax=xmax, rows=_AT_ONCE + 1)
        now, kinds = rows[0], {row["kind"] for row in rows}
        is_usual = now["incarnation"] == self._incarnation
        if not is_usual or now["midnight"] != state.midnight or not kinds <= {"TRADE", None}:
            return None
        if len(rows) > _AT_ONCE:
            return None
        changed = {row["changed_id"] for row in rows} - {None}
        affected = state.update_trades(changed, [row for row in rows if row["id"] is not None])
        events, limit_states = self._assess(state, affected, now["now"])
        if events or limit_states:
            async with connection.transaction():
                await self._write(fetch, events, limit_states)
        self._snapshot = now["snapshot"]
        return bool(changed)

    async def _poll_all(self, fetch: Fetch, state: RiskState | None) -> bool:
        """Polls in the transaction that has begun. Returns whether it has found anything."""
        (now,) = await fetch(_POLL_STATE)
        incarnation = now["incarnation"]
        if incarnation is None or (state is not None and incarnation != self._incarnation):
            # The recorder then calls `begin`, and the next poll loads the state.
            raise FeedUnavailableError("rows may have changed without entries")
        changes = None if state is None else await self._read_changes(fetch)
        is_first = False
        if state is None or changes is None or now["midnight"] < state.midnight:  # a clock was set back
            is_first, state = bool(await fetch(_BEGIN)), RiskState(now["midnight"])
            await self._delete_events(fetch, [row["account_id"] for row in await fetch(_GONE_ACCOUNTS)])
            await self._read_limit_states(fetch)
            await state.load(fetch)
            affected = state.accounts.keys() | self._limit_states.keys()
            mutations = await self._unseen_mutations(fetch, affected)
            if is_first:  # what was there before is no change
                mutations |= {
                    id_: Mutation(mutations[id_].number if id_ in mutations else None, state.limits_of(id_))
                    for id_ in affected - self._limit_states.keys()
                }
        else:
            affected = await state.apply(fetch, changes, now["midnight"])
            await self._forget_accounts(fetch, state, changes.accounts)
            mutations = changes.mutations
        await self._write(fetch, *self._assess(state, affected, now["now"], mutations))
        self._snapshot, self._incarnation = now["snapshot"], incarnation
        self._state = state
        return changes != CommittedChanges()

    async def _unseen_mutations(self, fetch: Fetch, ids: Iterable[str]) -> dict[str, Mutation]:
        """Returns the last mutation of each account, if it was made while no process recorded."""
        return {
            row["account_id"]: Mutation(row["number"], orjson.loads(row["limits_after"]))
            for row in await fetch(UNSEEN_MUTATIONS, ids=list(ids))
        }

    async def _read_changes(self, fetch: Fetch) -> CommittedChanges | None:
        """Returns all that was committed since the last poll; None for more than _MAX_CHANGES."""
        _, xmax, in_progress = self._snapshot
        entries = await fetch(_CHANGES, in_progress=in_progress, xmax=xmax, rows=_MAX_CHANGES + 1)
        return CommittedChanges.of(entries) if len(entries) <= _MAX_CHANGES else None

    async def _read_limit_states(self, fetch: Fetch) -> None:
        self._limit_states = {
            row["account_id"]: LimitState(
                None if row["limits"] is None else orjson.loads(row["limits"]),
                orjson.loads(row["exceeded"]),
                row["mutation"],
            )
            for row in await fetch(_LIMIT_STATES)
        }

    async def _forget_accounts(self, fetch: Fetch, state: RiskState, ids: set[str]) -> None:
        """Deletes the events and limit states of accounts that were deleted."""
        if not ids:
            return
        gone = ids - {row["id"] for row in await fetch(_EXISTING_ACCOUNTS, ids=list(ids))}
        state.forget(gone)
        for id_ in gone:
            self._limit_states.pop(id_, None)
        await self._delete_events(fetch, list(gone))

    async def _delete_events(self, fetch: Fetch, ids: Sequence[str]) -> None:
        """Deletes the events and limit states of accounts."""
        for statement in _FORGET if ids else ():
            await fetch(statement, ids=ids)

    def _assess(
        self,
        state: RiskState,
        affected: Iterable[str],
        now: str,
        mutations: Mapping[str, Mutation] = MappingProxyType({}),
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Returns the events of the affected accounts, and their changed limit states, which it keeps.

        `mutations` are the last mutations since the last poll, after which the limits are compared; of other
        accounts, the limits at the last poll are. A mutation records its own change at once, and another
        program may have undone it before this poll.
        """
        events: list[dict[str, Any]] = []
        changed_states: list[dict[str, Any]] = []
        times = _event_times(now)
        for id_ in sorted(id_ for id_ in affected if id_ in state.accounts or id_ in self._limit_states):
            account, former = state.accounts.get(id_) or TrackedAccount(), self._limit_states.get(id_)
            seen = Mutation(None, None) if former is None else Mutation(former.mutation, former.limits)
            mutation = mutations.get(id_, seen)
            events += _change(id_, mutation.limits_after, account.limits, times)
            exceeded = {} if former is None else dict(former.exceeded)
            events += _crossings(id_, account, exceeded, state.midnight, times)
            present = LimitState(account.limits, exceeded, mutation.number)
            if present != former:
                self._limit_states[id_] = present
                changed_states.append({"account_id": id_, **asdict(present)})
        return events, changed_states

    async def _write(
        self, fetch: Fetch, events: Sequence[Mapping[str, Any]], limit_states: Sequence[Mapping[str, Any]]
    ) -> None:
        """Records events, and saves limit states."""
        if events:
            await fetch(_RECORD, events=orjson.dumps(events).decode())
        if limit_states:
            await fetch(_SAVE_LIMIT_STATES, states=orjson.dumps(limit_states).decode())


def _change(
    id_: str, before: LimitValues | None, after: LimitValues | None, times: Iterator[str]
) -> Iterator[dict[str, Any]]:
    """Yields an event for a change of limits that no mutation has recorded."""
    if before != after:
        yield {
            "account_id": id_,
            "at": next(times),
            "kind": RiskEventKind.LIMITS_CHANGED.value,
            "limits_before": before,
            "limits_after": after,
            "author": RiskLimitsAuthor.PROGRAM.value,
        }


def _crossings(
    id_: str,
    account: TrackedAccount,
    exceeded: dict[str, dict[str, str]],
    midnight: str,
    times: Iterator[str],
) -> Iterator[dict[str, Any]]:
    """Yields an event for each limit that is newly exceeded or kept again, and updates `exceeded`."""

    def kept(limit: RiskLimit, usage: LimitUsage) -> dict[str, Any]:
        since = exceeded.pop(limit.value)["since"]
        return _crossing(id_, RiskEventKind.LIMIT_KEPT, limit, usage, at=next(times), since=since)

    limits = _numbers(account.limits)
    without_trades = limit_usage(limits, ())
    for limit, usage in limit_usage(limits, account.by_session()).items():
        before = exceeded.get(limit.value)
        if before is not None and before["midnight"] != midnight and limit in _LIMITS_OF_A_DAY:
            yield kept(limit, without_trades[limit])  # its day is over
        if usage.is_exceeded and limit.value not in exceeded:
            at = next(times)
            exceeded[limit.value] = {"since": at, "midnight": midnight}
            trades = account.offending_trades(limit, usage.allowed)
            yield _crossing(id_, RiskEventKind.LIMIT_CROSSED, limit, usage, at=at, since=at, trades=trades)
        elif not usage.is_exceeded and limit.value in exceeded:
            yield kept(limit, usage)


def _crossing(
    id_: str, kind: RiskEventKind, limit: RiskLimit, usage: LimitUsage, **values: Any
) -> dict[str, Any]:
    return {
        "account_id": id_,
        "kind": kind.value,
        "risk_limit": limit.value,
        "value": None if usage.value is None else str(usage.value),
        "allowed": None if usage.allowed is None else str(usage.allowed),
        **values,
    }


def _event_times(now: str) -> Iterator[str]:
    """Yields times from now on, so that the events of one poll have an order."""
    moment = datetime.fromisoformat(now)
    while True:
        yield moment.isoformat()
        moment += timedelta(microseconds=1)
