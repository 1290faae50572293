"""Account.logs: which accounts a log line is about, by its `details`, and how an account's lines are found.

A line is a trader's if its component is one that traders may read (GRAPHQL_API_TRADER_LOG_COMPONENTS), and if
all that its details name is theirs. Names are the values of these keys, at any depth: `account_id`,
`session_id` and `trade_id`, also in the plural or as `accountId`, `sessionId`, `tradeId`. A value is a row's
UUID or a list of them; null names nothing, and anything else names what nobody has.

Whose a line is, is computed in the database whenever it is read (graphql_api.owner_named_in). A page of an
account's lines also needs an index that has them in order: that of the table graphql_api.account_logs, which
a recorder writes after the lines were committed.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import inf
from typing import Any, Final

import asyncpg
from sqlalchemy import ColumnElement, any_, bindparam, func, literal_column, select, text, true, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlalchemy.types import Text

from graphql_api.log_feed.errors import CursorExpiredError, FeedUnavailableError
from graphql_api.log_feed.feed_offset import LOWEST_ID, MAX_IN_PROGRESS, FeedOffset
from graphql_api.log_feed.filter import LogFilter
from graphql_api.log_feed.incarnation import enter_incarnation
from graphql_api.log_feed.recorder import PollResult, load_progress, save_progress
from graphql_api.log_feed.tail import fetch_end, fetch_page
from graphql_api.postgres import tables
from graphql_api.postgres.statement import Fetch, compile_statement, fetch_on
from graphql_api.postgres.tables.base import Timestamp
from graphql_api.relational.context import TRADER_LOG_COMPONENTS

_LINES_AT_ONCE = 1000
_HISTORY_AT_ONCE = 2000
_SAVE_INTERVAL = 5.0
_MAX_WAIT = timedelta(minutes=10)
"""How long a line waits for rows that it names and that aren't there yet: their transaction may take long."""

_readable = bindparam(TRADER_LOG_COMPONENTS, type_=ARRAY(Text))
_log: Any = tables.system_logs.alias("log")


def _owner_of(line: Any) -> ColumnElement[str]:
    """Returns the user who has all that a line's details name; null if it isn't one user."""
    owner: ColumnElement[str] = func.graphql_api.owner_named_in(line.c.details, type_=UUID(as_uuid=False))
    return owner


# Lines that a trader may read, with the trader: a line is found by its id.
_lines = select(*_log.c, _owner_of(_log).label("user_id")).where(_log.c.component == any_(_readable))
_owned = _lines.subquery("owned")
own_logs: Any = select(_owned).where(_owned.c.user_id.is_not(None)).subquery("own_logs")

# The same lines by account. OFFSET keeps PostgreSQL from reading all of system_logs for a page.
_entry: Any = tables.account_logs.alias("entry")
_line: Any = (
    select(_log)
    .where(_log.c.id == _entry.c.id, _log.c.component == any_(_readable))
    .correlate(_entry)
    .offset(literal_column("0"))
    .lateral("log")
)
_account_owner = (
    select(tables.accounts.c.user_id).where(tables.accounts.c.id == _entry.c.account_id).scalar_subquery()
)
account_logs: Any = (
    select(*_entry.c, *(column for column in _line.c if column.name != "id"))
    .select_from(_entry.join(_line, true()))
    .where(_owner_of(_line) == _account_owner)
    .subquery("account_logs")
)

# Records the lines of :ids if all rows that they name are there. With :wait, the other lines are noted, to be
# tried again. With :announce, an entry tells subscribers of each line; without it, lines that were noted are
# left out, since they are announced once they are recorded.
_RECORD = compile_statement(
    text("""
        WITH lines AS MATERIALIZED (
            SELECT id, coalesce(timestamp, '-infinity') AS at,
                   graphql_api.accounts_named_in(details) AS accounts
            FROM system_logs
            WHERE id = ANY (CAST(:ids AS uuid[])) AND component = ANY (CAST(:components AS text[]))
              AND (CAST(:announce AS boolean)
                   OR id NOT IN (SELECT waiting.id FROM graphql_api.unattributed_logs AS waiting))
        ),
        noted AS (
            INSERT INTO graphql_api.unattributed_logs (id)
            SELECT id FROM lines WHERE CAST(:wait AS boolean) AND array_position(accounts, NULL) IS NOT NULL
            ON CONFLICT DO NOTHING
        ),
        recorded AS (
            INSERT INTO graphql_api.account_logs (account_id, at, id)
            SELECT account_id, at, id FROM lines CROSS JOIN LATERAL unnest(accounts) AS account_id
            WHERE array_position(accounts, NULL) IS NULL
            ON CONFLICT DO NOTHING
            RETURNING account_id, id
        ),
        announced AS (
            INSERT INTO activity.entries (xid, id, kind, change, row_id, account_id)
            SELECT pg_current_xact_id(), gen_random_uuid(), 'LOG', 'ADDED', id, account_id FROM recorded
            WHERE CAST(:announce AS boolean)
        )
        SELECT id FROM recorded
    """)
)

_NOTIFY = compile_statement(text("SELECT activity.notify_readers()"))
_RESET = compile_statement(text("SELECT activity.reset()"))
_HAS_RECORDED = compile_statement(
    text("SELECT 1 FROM graphql_api.recorders WHERE name = CAST(:name AS text)")
)
_DUE = compile_statement(
    text("""
        SELECT id FROM graphql_api.unattributed_logs WHERE retry_at <= statement_timestamp()
        ORDER BY retry_at LIMIT CAST(:rows AS integer)
    """)
)
_FORGET = compile_statement(
    text("""
        DELETE FROM graphql_api.unattributed_logs
        WHERE id = ANY (CAST(:ids AS uuid[]))
          AND (id = ANY (CAST(:recorded AS uuid[]))
               OR noted_at < statement_timestamp() - make_interval(secs => CAST(:max_wait AS float8)))
    """)
)
# The longer a line has waited, the longer it waits until it is tried again.
_POSTPONE = compile_statement(
    text("""
        UPDATE graphql_api.unattributed_logs
        SET retry_at = statement_timestamp() + greatest(statement_timestamp() - noted_at, interval '50 ms')
        WHERE id = ANY (CAST(:ids AS uuid[]))
    """)
)

_at = tables.sort_key(tables.system_logs.c.timestamp)
_HISTORY = compile_statement(
    select(_at.label("at"), tables.system_logs.c.id)
    .where(
        tuple_(_at, tables.system_logs.c.id)
        < tuple_(bindparam("at", type_=Timestamp), bindparam("id", type_=UUID(as_uuid=False)))
    )
    .order_by(_at.desc(), tables.system_logs.c.id.desc())
    .limit(literal_column(str(_HISTORY_AT_ONCE)))
)
_NEWEST: Final = ("infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff")

# Deletes rows whose lines other programs have deleted. Checks :rows of them, and returns the last one.
_SWEEP = compile_statement(
    text("""
        WITH chunk AS MATERIALIZED (
            SELECT account_id, at, id FROM graphql_api.account_logs
            WHERE (account_id, at, id)
                > (CAST(:account_id AS uuid), CAST(:at AS timestamptz), CAST(:id AS uuid))
            ORDER BY account_id, at, id LIMIT CAST(:rows AS integer)
        ),
        deleted AS (
            DELETE FROM graphql_api.account_logs entry USING chunk
            WHERE (entry.account_id, entry.at, entry.id) = (chunk.account_id, chunk.at, chunk.id)
              AND NOT EXISTS (SELECT FROM system_logs log WHERE log.id = chunk.id)
        )
        SELECT * FROM chunk ORDER BY account_id DESC, at DESC, id DESC LIMIT 1
    """)
)
_FIRST: Final = {"account_id": LOWEST_ID, "at": "-infinity", "id": LOWEST_ID}


class AccountLogRecording:
    """The recording of graphql_api.account_logs, from the entries of the log feed."""

    name = "account_logs"
    lock = 7813585364

    def __init__(self, components: Sequence[str], sweep_interval: float = 10.0) -> None:
        """Records lines of `components`, and removes those of deleted lines each `sweep_interval` seconds."""
        self._components = sorted(set(components))
        self._sweep_interval = sweep_interval
        self._wanted = LogFilter(components=frozenset(components))
        self._offset = FeedOffset(0)
        self._incarnation = 0
        self._history: Sequence[str] | None = None
        self._is_again = self._has_missed = False
        """Whether the history is recorded since lines may have been missed; and whether some were."""
        self._swept_up_to: Mapping[str, Any] = _FIRST
        self._sweep_at = self._save_at = 0.0

    async def begin(self, connection: "asyncpg.Connection") -> None:
        """Continues from the stored offset, and prepares to record the history of components that are new."""
        fetch = fetch_on(connection)
        self._incarnation = await enter_incarnation(connection)
        stored = await load_progress(fetch, self.name, self._incarnation)
        if stored is None:
            await self._start_over(fetch, again=bool(await fetch(_HAS_RECORDED, name=self.name)))
            return
        self._offset, state = stored
        self._is_again, self._has_missed = state.get("again", False), state.get("missed", False)
        is_new = not set(self._components) <= set(state["components"])
        self._history = _NEWEST if is_new else state["history"]
        await self._save(fetch)

    async def poll(self, connection: "asyncpg.Connection") -> PollResult:
        """Records new lines, those that have waited, and a piece of the history."""
        async with connection.transaction(isolation="repeatable_read"):
            return await self._poll(fetch_on(connection))

    async def _poll(self, fetch: Fetch) -> PollResult:
        page, snapshot = await fetch_page(fetch, self._offset, _LINES_AT_ONCE, wanted=self._wanted)
        if snapshot.incarnation != self._incarnation:
            raise FeedUnavailableError("the database's incarnation has changed")
        page.missing = False  # deleted lines needn't be recorded
        try:
            snapshot.check_continuity(page)
        except CursorExpiredError:
            await self._start_over(fetch, again=True)
            return PollResult(found=True, due=0)
        page.limit_in_progress(MAX_IN_PROGRESS)
        recorded = await self._record(fetch, [row["id"] for row in page.rows if row["wanted"]], is_new=True)
        moved = page.end != self._offset
        self._offset = page.end
        recorded |= await self._try_again(fetch)
        if page.complete and self._history is not None:
            await self._record_history(fetch, self._history)
            recorded = True
        elif page.complete and time.monotonic() > self._sweep_at:
            await self._sweep(fetch)
        # If this isn't saved, pages without a line to record are read again.
        if recorded or (moved and time.monotonic() > self._save_at):
            await self._save(fetch)
        return PollResult(found=bool(page.rows), due=inf if page.complete and self._history is None else 0)

    async def _start_over(self, fetch: Fetch, *, again: bool) -> None:
        self._offset, _ = await fetch_end(fetch)
        self._history = _NEWEST
        self._is_again, self._has_missed = again, False
        await self._save(fetch)

    async def _save(self, fetch: Fetch) -> None:
        state = {
            "components": self._components,
            "history": self._history,
            "again": self._is_again,
            "missed": self._has_missed,
        }
        await save_progress(fetch, self.name, self._offset, self._incarnation, state)
        self._save_at = time.monotonic() + _SAVE_INTERVAL

    async def _record(self, fetch: Fetch, ids: Sequence[str], *, is_new: bool) -> bool:
        """Records some lines, new ones or lines of the history. Returns whether there were any to record."""
        if not ids:
            return False
        rows = await fetch(_RECORD, ids=ids, components=self._components, wait=is_new, announce=is_new)
        if rows and is_new:
            await fetch(_NOTIFY)
        return bool(rows)

    async def _try_again(self, fetch: Fetch) -> bool:
        """Tries again to record lines that wait for rows that they name. Returns whether any was recorded."""
        due = [row["id"] for row in await fetch(_DUE, rows=_LINES_AT_ONCE)]
        if not due:
            return False
        rows = await fetch(_RECORD, ids=due, components=self._components, wait=False, announce=True)
        recorded = [row["id"] for row in rows]
        if recorded:
            await fetch(_NOTIFY)
        await fetch(_FORGET, ids=due, recorded=recorded, max_wait=_MAX_WAIT.total_seconds())
        await fetch(_POSTPONE, ids=due)
        return bool(recorded)

    async def _record_history(self, fetch: Fetch, before: Sequence[str]) -> None:
        """Records the newest lines before a place in the order of their timestamps.

        Lines of the history aren't announced. If some of them had been missed, all cursors end afterwards.
        """
        at, id_ = before
        rows = await fetch(_HISTORY, at=at, id=id_)
        recorded = await self._record(fetch, [row["id"] for row in rows], is_new=False)
        self._has_missed |= self._is_again and recorded
        self._history = (rows[-1]["at"], rows[-1]["id"]) if rows else None
        if not rows:
            if self._has_missed:
                await fetch(_RESET)
            self._is_again = self._has_missed = False

    async def _sweep(self, fetch: Fetch) -> None:
        last = await fetch(_SWEEP, **self._swept_up_to, rows=_LINES_AT_ONCE)
        self._swept_up_to = dict(last[0]) if last else _FIRST
        self._sweep_at = time.monotonic() + self._sweep_interval
