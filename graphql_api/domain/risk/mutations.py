"""Mutations of risk settings. Each writes the settings, a line of the log and a risk event, or nothing.

Nearly every account has one row of risk_settings, which a single statement finds, locks, compares and
updates. It waits for nobody, since meanwhile the account might get another owner, or another row come into
force. Where it finds no row, several, or one that another transaction is writing, a transaction locks the
account first, so that of two writers of a first row the second finds the first one's. Both statements that
find an account by the client's id are restricted to the tenant by `Entity.restrict_to_tenant`; the others run
under the lock that the second holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import asyncpg
import strawberry
from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    Text,
    bindparam,
    column,
    false,
    func,
    insert,
    literal_column,
    null,
    select,
    table,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID, array
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from graphql_api.domain.policy import ACCOUNTS, RISK_SETTINGS
from graphql_api.domain.risk.settings import (
    LIMIT_COLUMNS,
    LIMITS_CHANGED,
    RiskSettingsPayload,
    SetRiskSettingsInput,
    UpdateRiskSettingsInput,
    all_limits,
    check_limits,
    current_risk_settings,
    given_limits,
    json_object,
    limits_as_json,
    version_of,
)
from graphql_api.execution.fields import resolved
from graphql_api.identity.viewer import NO_TENANT, ServiceTokenCredential, Viewer
from graphql_api.postgres import tables
from graphql_api.postgres.database import Database, Transaction
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.postgres.tables import sort_key
from graphql_api.relational.context import Context
from graphql_api.relational.entity import loader_by_id
from graphql_api.relational.errors import BadInputError, ErrorCode, UserError
from graphql_api.relational.permissions import signed_in
from graphql_api.relational.scalars import parse_id

_accounts, _risk, _logs = tables.accounts, tables.risk_settings, tables.system_logs
_uuid = UUID(as_uuid=False)
# The entries of the feed of changes, which subscribers follow.
_entries = table(
    "entries", *map(column, ("xid", "id", "kind", "change", "row_id", "account_id")), schema="activity"
)
*_table_columns, _row_version, _has_duplicates = RISK_SETTINGS.columns
_own_columns = (*_table_columns, _row_version)
_is_only = false().label("has_duplicates")
# The first key of the advisory locks of accounts, one of which each transaction below takes.
_LOCK_SPACE = 781358538

Info = strawberry.Info[Context, None]
AccountId = Annotated[strawberry.ID, strawberry.argument(description="The UUID of the Account.")]
IfVersion = Annotated[
    str | None,
    strawberry.argument(
        description=(
            "The change is made only if the settings still have this version. Without it, the change is"
            " always made."
        )
    ),
]


class UnknownAccountError(Exception):
    """There is no account with this id that the viewer may see."""


class ForbiddenChangeError(Exception):
    """The viewer may see the account, but not change its settings."""


@dataclass
class StaleVersionError(Exception):
    """The settings are of another version than the change was meant for."""

    current: asyncpg.Record | None
    """The row as it is now; None if there is none."""


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """A change of an account's settings."""

    verb: str
    """The verb of the log line: set, updated or reset."""
    values: Mapping[str, Any]
    """New limits by column. Columns that are left out keep their values."""
    if_version: str | None
    """The version that the settings must have; None for any."""


@strawberry.type
class Mutation:
    """Each returns the settings as they are afterwards, or every reason why nothing was changed."""

    @resolved(
        "Replaces all four limits. If one is null or left out, there is no such limit afterwards.",
        check=signed_in,
    )
    async def set_risk_settings(
        self,
        info: Info,
        account_id: AccountId,
        input: Annotated[SetRiskSettingsInput, strawberry.argument(description="The limits.")],
        if_version: IfVersion = None,
    ) -> RiskSettingsPayload:
        return await _change(info.context, account_id, SettingsChange("set", all_limits(input), if_version))

    @resolved("Changes only the limits that are given; null clears one.", check=signed_in)
    async def update_risk_settings(
        self,
        info: Info,
        account_id: AccountId,
        input: Annotated[UpdateRiskSettingsInput, strawberry.argument(description="The changes.")],
        if_version: IfVersion = None,
    ) -> RiskSettingsPayload:
        return await _change(
            info.context, account_id, SettingsChange("updated", given_limits(input), if_version)
        )

    @resolved(
        "Restores the platform's default limits. The row is kept, since a bot might take a missing row for"
        " no limits.",
        check=signed_in,
    )
    async def reset_risk_settings(
        self, info: Info, account_id: AccountId, if_version: IfVersion = None
    ) -> RiskSettingsPayload:
        defaults = {
            limit.column: getattr(info.context.services.settings, f"default_{limit.column}")
            for limit in LIMIT_COLUMNS
        }
        return await _change(info.context, account_id, SettingsChange("reset", defaults, if_version))


async def _change(context: Context, given_id: str, change: SettingsChange) -> RiskSettingsPayload:
    try:
        account_id = parse_id(given_id, "accountId")
    except BadInputError:
        return RiskSettingsPayload(
            user_errors=[_error(ErrorCode.INVALID, "accountId must be a UUID", "accountId")]
        )
    faults = check_limits(change.values)
    if not change.values:
        faults.append(_error(ErrorCode.EMPTY_UPDATE, "input must name at least one limit", "input"))
    if faults:
        return await _refused(context, account_id, faults)
    row: Any
    try:
        row = await write_settings(context.services.database, context.viewer, account_id, change)
    except UnknownAccountError:
        row = None
        faults = [_error(ErrorCode.NOT_FOUND, "there is no account with this id", "accountId")]
    except ForbiddenChangeError:
        faults = [_error(ErrorCode.FORBIDDEN, "these settings are not the viewer's to change", "accountId")]
        return await _refused(context, account_id, faults)
    except (asyncpg.CheckViolationError, asyncpg.RaiseError) as error:
        if (rule := _rule_of_the_database(error)) is None:
            raise
        argument = "accountId" if change.verb == "reset" else "input"
        return await _refused(context, account_id, [_error(ErrorCode.INVALID, rule, argument)])
    except StaleVersionError as stale:
        row = stale.current
        faults = [_error(ErrorCode.CONFLICT, "the settings have changed since this version", "ifVersion")]
    context.clear_loaders()
    return RiskSettingsPayload(account_id=account_id, risk_settings=row, user_errors=faults)


def _rule_of_the_database(error: asyncpg.PostgresError) -> str | None:
    """Returns which rule of other programs a change breaks; None if the limits aren't what breaks it.

    The message of a trigger isn't for clients: it may tell of rows that they can't see.
    """
    if isinstance(error, asyncpg.RaiseError):
        return "a trigger of the database refuses these limits"
    if error.table_name == _risk.name:
        return f"the database's constraint {error.constraint_name} refuses these limits"
    if error.data_type_name is not None:  # a domain's, whose error names no table
        return f"the database's constraint {error.constraint_name} refuses this change"
    return None


async def _refused(context: Context, account_id: str, faults: list[UserError]) -> RiskSettingsPayload:
    """Returns the faults with the settings as they are, if the viewer may see the account."""
    row = None
    if await loader_by_id(context, ACCOUNTS).load(account_id) is not None:
        row = await context.loaders.get(current_risk_settings).load(account_id)
    return RiskSettingsPayload(account_id=account_id, risk_settings=row, user_errors=faults)


def _error(code: ErrorCode, message: str, argument: str) -> UserError:
    return UserError(code=code, message=message, field=[argument])


async def write_settings(
    database: Database, viewer: Viewer, account_id: str, change: SettingsChange
) -> asyncpg.Record:
    """Makes a change, and returns the row as it is afterwards.

    Raises UnknownAccountError, ForbiddenChangeError or StaleVersionError if nothing was changed.
    """
    values = {column: _parameter(value) for column, value in change.values.items()}
    parameters = {
        **values,
        "account_id": account_id,
        "message": f"risk settings {change.verb} for account {account_id}",
        "by": viewer.user_id or "service",
        "author": "SERVICE" if isinstance(viewer.credential, ServiceTokenCredential) else "USER",
        "author_id": viewer.user_id,
    }
    columns = frozenset(values)
    owner = _owner(viewer)
    statement = _update_only_row(columns, owner is not None, change.if_version is not None)
    written = await database.change(statement, **parameters, tenant=owner, version=change.if_version)
    if written:
        return written[0]

    async def write_under_lock(transaction: Transaction) -> asyncpg.Record:
        await _lock_account(transaction, viewer, account_id)
        before = await _lock_current_row(transaction, account_id)
        if change.if_version is not None and (
            before is None or version_of(before["id"], before["row_version"]) != change.if_version
        ):
            raise StaleVersionError(before)
        if before is None:
            return (await transaction.fetch(_insert_row(columns), **parameters))[0]
        return (await transaction.fetch(_update_row(columns), **parameters, row_id=before["id"]))[0]

    return await database.run(write_under_lock)


def _owner(viewer: Viewer) -> str | None:
    """Returns the user whose settings the viewer may both see and change.

    None stands for every user, NO_TENANT for none.
    """
    owners = {viewer.tenant, viewer.risk_tenant} - {None}
    return NO_TENANT if len(owners) > 1 else next(iter(owners), None)


async def _lock_account(transaction: Transaction, viewer: Viewer, account_id: str) -> None:
    """Locks the account until the transaction ends. Raises UnknownAccountError or ForbiddenChangeError.

    Until then it keeps its owner, and other mutations wait. Programs may change its other columns.
    """
    found = await transaction.fetch(
        _lock_statement(viewer.tenant is not None), account_id=account_id, tenant=viewer.tenant
    )
    if not found:
        raise UnknownAccountError
    if viewer.risk_tenant is not None and found[0]["user_id"] != viewer.risk_tenant:
        raise ForbiddenChangeError


async def _lock_current_row(transaction: Transaction, account_id: str) -> asyncpg.Record | None:
    """Locks the row in force of an account that is locked already, and returns it; None if there is none.

    If it had to wait for a program's transaction, that may have put another row in force, so it reads again.
    """
    found = await transaction.fetch(_current_row(), account_id=account_id)
    while (again := await transaction.fetch(_current_row(), account_id=account_id)) != found:
        found = again
    return found[0] if found else None


def _parameter(value: Any) -> Any:
    """Returns a limit as a statement's parameter: decimals as text in plain notation."""
    return value if value is None or isinstance(value, int) else format(value, "f")


@lru_cache
def _lock_statement(for_tenant: bool) -> Statement:  # noqa: FBT001
    lock = func.pg_advisory_xact_lock(
        literal_column(str(_LOCK_SPACE)), func.hashtext(_accounts.c.id.cast(Text))
    )
    query = select(_accounts.c.id, _accounts.c.user_id, lock).where(
        _accounts.c.id == bindparam("account_id", type_=_uuid)
    )
    query = ACCOUNTS.restrict_to_tenant(query, for_tenant=for_tenant)
    return compile_statement(query.with_for_update(read=True, key_share=True))


@lru_cache
def _current_row() -> Statement:
    """Reads and locks the row in force of an account that is locked already."""
    query = (
        select(*RISK_SETTINGS.columns)
        .where(_risk.c.account_id == bindparam("account_id", type_=_uuid))
        .order_by(sort_key(_risk.c.updated_at).desc(), _risk.c.id.desc())
        .limit(1)
        .with_for_update()
    )
    return compile_statement(query)


def _parameters(columns: frozenset[str]) -> dict[str, Any]:
    return {column: bindparam(column, type_=_risk.c[column].type) for column in sorted(columns)}


@lru_cache(maxsize=64)
def _insert_row(columns: frozenset[str]) -> Statement:
    """Inserts the first row of an account that is locked already."""
    query = insert(_risk).values(account_id=bindparam("account_id", type_=_uuid), **_parameters(columns))
    limits = (null().cast(JSONB).label("limits_before"), limits_as_json(_risk.c).label("limits_after"))
    return _with_record(query.returning(*_own_columns, _is_only, *limits))


@lru_cache(maxsize=64)
def _update_row(columns: frozenset[str]) -> Statement:
    """Updates the row :row_id of an account that is locked already."""
    before = _before().where(_risk.c.id == bindparam("row_id", type_=_uuid)).with_for_update().cte("before")
    return _with_record(_update(before, columns, _has_duplicates))


@lru_cache(maxsize=64)
def _update_only_row(columns: frozenset[str], for_tenant: bool, versioned: bool) -> Statement:  # noqa: FBT001
    """Updates an account's row if it is the only one, and is of :version and the account of :tenant.

    It updates nothing if another transaction has locked the row, or has changed it since the statement began.
    PostgreSQL would read that row again, but neither the account nor the number of rows.
    """
    query = _before().where(_risk.c.account_id == bindparam("account_id", type_=_uuid))
    query = RISK_SETTINGS.restrict_to_tenant(query, for_tenant=for_tenant)
    before = query.with_for_update(of=_risk, skip_locked=True).cte("before")
    each = _risk.alias("each")
    versions: Select[Any] = select(func.array_agg(literal_column("each.xmin::text"))).where(
        each.c.account_id == bindparam("account_id", type_=_uuid)
    )
    # The account's rows as they were when the statement began, without waiting: the locked one alone.
    conditions = [versions.scalar_subquery() == array([before.c.row_version])]
    if versioned:
        version = before.c.id.cast(Text) + literal_column("'.'") + before.c.row_version
        conditions.append(version == bindparam("version", type_=Text))
    return _with_record(_update(before, columns, _is_only, *conditions))


def _before() -> Select[Any]:
    """Reads a row as it is before it is updated."""
    return select(_risk.c.id, _row_version, limits_as_json(_risk.c).label("limits"))


def _update(
    before: CTE,
    columns: frozenset[str],
    has_duplicates: ColumnElement[bool],
    *conditions: ColumnElement[bool],
) -> ReturningUpdate[Any]:
    # No trigger sets updated_at. It never decreases, since of several rows the newest one is in force.
    now = func.greatest(func.clock_timestamp(), _risk.c.updated_at)
    query = update(_risk).where(_risk.c.id == before.c.id, *conditions)
    limits = (before.c.limits.label("limits_before"), limits_as_json(_risk.c).label("limits_after"))
    changed = query.values(updated_at=now, **_parameters(columns))
    return changed.returning(*_own_columns, has_duplicates, *limits)


def _with_record(change: ReturningInsert[Any] | ReturningUpdate[Any]) -> Statement:
    """Writes the settings, a line of system_logs and a risk event in one statement.

    Several statements would hold the lock longer. `change` returns the columns of the settings, then the
    limits before and after.
    """
    written = change.cte("written")
    *settings, limits_before, limits_after = written.c
    details = {
        "account_id": written.c.account_id,
        "risk_settings_id": written.c.id,
        "by": bindparam("by", type_=Text),
        "before": limits_before,
        "after": limits_after,
    }
    line = {
        "level": literal_column("'INFO'"),
        "component": literal_column("'risk'"),
        "message": bindparam("message", type_=Text),
        "details": json_object(details),
    }
    log_line = insert(_logs).from_select(list(line), select(*line.values()).select_from(written))
    values = {
        "account_id": written.c.account_id,
        "kind": literal_column(f"'{LIMITS_CHANGED}'"),
        "limits_before": limits_before,
        "limits_after": limits_after,
        "author": bindparam("author", type_=Text),
        "author_id": bindparam("author_id", type_=_uuid),
    }
    event = select(*values.values()).where(limits_before.is_distinct_from(limits_after))
    events = tables.risk_events.c
    recorded = (
        insert(tables.risk_events)
        .from_select(list(values), event)
        .returning(events.id, events.account_id)
        .cte("risk_event")
    )
    entry = select(
        func.pg_current_xact_id(),
        func.gen_random_uuid(),
        literal_column("'RISK'"),
        literal_column("'ADDED'"),
        recorded.c.id,
        recorded.c.account_id,
    )
    announced = insert(_entries).from_select([column.name for column in _entries.c], entry).cte("announced")
    return compile_statement(select(*settings).add_cte(log_line.cte("log_line"), recorded, announced))
