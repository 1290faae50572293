"""Mutations of risk settings: one transaction locks the account, checks the version, writes and audits."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import asyncpg
import strawberry
from sqlalchemy import (
    CTE,
    ColumnElement,
    Numeric,
    Text,
    bindparam,
    false,
    func,
    insert,
    literal,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import UUID

from graphql_api.domain.policy import RISK_SETTINGS
from graphql_api.domain.risk.settings import (
    LIMITS,
    RiskSettingsPayload,
    SetRiskSettingsInput,
    UpdateRiskSettingsInput,
    changes,
    check_limits,
    version_of,
    whole,
)
from graphql_api.execution.fields import resolved
from graphql_api.identity.viewer import NO_TENANT, Viewer
from graphql_api.postgres import tables
from graphql_api.postgres.database import Database, Transaction
from graphql_api.postgres.statement import Statement, compile_statement
from graphql_api.postgres.tables import sort_key
from graphql_api.relational.context import Context
from graphql_api.relational.errors import ErrorCode, UserError
from graphql_api.relational.permissions import signed_in
from graphql_api.relational.scalars import parse_id

_accounts, _risk, _logs = tables.accounts, tables.risk_settings, tables.system_logs
_uuid = UUID(as_uuid=False)
*_amended, _has_duplicates = RISK_SETTINGS.columns

Info = strawberry.Info[Context, None]
AccountId = Annotated[strawberry.ID, strawberry.argument(description="The UUID of the Account.")]
IfVersion = Annotated[
    str | None,
    strawberry.argument(
        description="The version that the change is meant for; without one, it is made to whatever stands."
    ),
]


class UnknownAccountError(Exception):
    """There is no such account, or not for this viewer."""


class NotTheirsToChangeError(Exception):
    """The viewer may see the account, and not change its limits."""


@dataclass
class StaleVersionError(Exception):
    """The settings are not the version that the change was meant for."""

    current: asyncpg.Record | None


@dataclass(frozen=True, slots=True)
class Change:
    """A change to make: `values` by column; what is left out stays as it is."""

    action: str
    values: Mapping[str, Any]
    version: str | None
    """The version the row must have; None for whichever it has."""


@strawberry.type
class Mutation:
    """Each answers with the settings as they are afterwards, or with every reason why nothing changed."""

    @resolved("Replaces all four limits: one that is null or left out becomes no limit.", check=signed_in)
    async def set_risk_settings(
        self,
        info: Info,
        account_id: AccountId,
        input: Annotated[SetRiskSettingsInput, strawberry.argument(description="The limits.")],
        if_version: IfVersion = None,
    ) -> RiskSettingsPayload:
        """Write all limits."""
        return await _apply(info.context, account_id, Change("set", whole(input), if_version))

    @resolved("Changes only the limits that are given; null clears one.", check=signed_in)
    async def update_risk_settings(
        self,
        info: Info,
        account_id: AccountId,
        input: Annotated[UpdateRiskSettingsInput, strawberry.argument(description="The changes.")],
        if_version: IfVersion = None,
    ) -> RiskSettingsPayload:
        """Write some limits."""
        return await _apply(info.context, account_id, Change("updated", changes(input), if_version))

    @resolved(
        "Brings back the platform's default limits. The row stays: none could mean no limits to the bot.",
        check=signed_in,
    )
    async def reset_risk_settings(
        self, info: Info, account_id: AccountId, if_version: IfVersion = None
    ) -> RiskSettingsPayload:
        """Write the default limits."""
        defaults = {
            limit.column: getattr(info.context.services.settings, f"default_{limit.column}")
            for limit in LIMITS
        }
        return await _apply(info.context, account_id, Change("reset", defaults, if_version))


async def _apply(context: Context, given_id: str, change: Change) -> RiskSettingsPayload:
    account_id = parse_id(given_id, "accountId")
    faults = check_limits(change.values)
    if not change.values:
        faults.append(_error(ErrorCode.EMPTY_UPDATE, "input must name at least one limit", "input"))
    if faults:
        return RiskSettingsPayload(account_id=account_id, user_errors=faults)
    row: Any = None
    errors: list[UserError] = []
    try:
        row = await write(context.services.database, context.viewer, account_id, change)
    except UnknownAccountError:
        errors = [_error(ErrorCode.NOT_FOUND, "there is no account with this id", "accountId")]
    except NotTheirsToChangeError:
        errors = [_error(ErrorCode.FORBIDDEN, "these settings are not the viewer's to change", "accountId")]
    except StaleVersionError as stale:
        row = stale.current
        errors = [_error(ErrorCode.CONFLICT, "the settings have changed since this version", "ifVersion")]
    context.clear_loaders()
    return RiskSettingsPayload(account_id=account_id, risk_settings=row, user_errors=errors)


def _error(code: ErrorCode, message: str, argument: str) -> UserError:
    return UserError(code=code, message=message, field=[argument])


async def write(database: Database, viewer: Viewer, account_id: str, change: Change) -> asyncpg.Record:
    """Make the change and return the row, or raise one of the errors above and change nothing."""
    values = {column: _text(value) for column, value in change.values.items()}
    given = {
        **values,
        "account_id": account_id,
        "message": f"risk settings {change.action} for account {account_id}",
        "by": viewer.user_id or "service",
    }
    columns = frozenset(values)
    # Nearly every account has one row, which one statement finds, locks and changes.
    owner = _owner(viewer)
    statement = _amend_only(columns, owner is not None, change.version is not None)
    written = await database.change(statement, **given, owner=owner, version=change.version)
    if written:
        return written[0]

    # Two first writers meet at the account's lock, so the second finds the first one's row: an account never
    # gets a second row from here.
    async def work(transaction: Transaction) -> asyncpg.Record:
        await _lock_account(transaction, viewer, account_id)
        rows = await transaction.fetch(_current(), account_id=account_id)
        before = rows[0] if rows else None
        if change.version is not None and (
            before is None or version_of(before["id"], before["row_version"]) != change.version
        ):
            raise StaleVersionError(before)
        if before is None:
            return (await transaction.fetch(_begin(columns), **given))[0]
        return (await transaction.fetch(_amend(columns), **given, row_id=before["id"]))[0]

    return await database.run(work)


def _owner(viewer: Viewer) -> str | None:
    """Whose settings they may both see and change: a user's, NO_TENANT's, or None for every tenant's."""
    owners = {viewer.tenant, viewer.risk_tenant} - {None}
    return NO_TENANT if len(owners) > 1 else next(iter(owners), None)


async def _lock_account(transaction: Transaction, viewer: Viewer, account_id: str) -> None:
    # NO KEY: sessions may go on referring to the account while its limits are written.
    found = await transaction.fetch(
        _lock(viewer.tenant is not None), account_id=account_id, tenant=viewer.tenant
    )
    if not found:
        raise UnknownAccountError
    if viewer.risk_tenant is not None and found[0]["user_id"] != viewer.risk_tenant:
        raise NotTheirsToChangeError


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else format(value, "f")


@lru_cache
def _lock(scoped: bool) -> Statement:  # noqa: FBT001
    query = select(_accounts.c.id, _accounts.c.user_id).where(
        _accounts.c.id == bindparam("account_id", type_=_uuid)
    )
    if scoped:
        query = query.where(_accounts.c.user_id == bindparam("tenant", type_=_uuid))
    return compile_statement(query.with_for_update(key_share=True))


@lru_cache
def _current() -> Statement:
    query = (
        select(*RISK_SETTINGS.columns)
        .where(_risk.c.account_id == bindparam("account_id", type_=_uuid))
        .order_by(sort_key(_risk.c.updated_at).desc(), _risk.c.id.desc())
        .limit(1)
        .with_for_update()
    )
    return compile_statement(query)


def _bound(columns: frozenset[str]) -> dict[str, Any]:
    return {column: bindparam(column, type_=_risk.c[column].type) for column in sorted(columns)}


@lru_cache(maxsize=64)
def _begin(columns: frozenset[str]) -> Statement:
    """Write an account's first row."""
    query = insert(_risk).values(account_id=bindparam("account_id", type_=_uuid), **_bound(columns))
    written = query.returning(*RISK_SETTINGS.columns).cte("written")
    return _with_audit(written, null())


@lru_cache(maxsize=64)
def _amend(columns: frozenset[str]) -> Statement:
    """Change the row :row_id."""
    before = select(*_amended).where(_risk.c.id == bindparam("row_id", type_=_uuid)).with_for_update()
    return _amending(before.cte("before"), columns, _has_duplicates)


@lru_cache(maxsize=64)
def _amend_only(columns: frozenset[str], owned: bool, versioned: bool) -> Statement:  # noqa: FBT001
    """Change an account's row, if it has exactly one, of :owner's, that is of :version.

    Whoever has written it since the statement began is waited for, and what they wrote is what is compared
    and changed: PostgreSQL looks again at a row that it had to wait for.
    """
    query = select(*_amended).where(_risk.c.account_id == bindparam("account_id", type_=_uuid))
    if owned:
        query = query.join(_accounts, _accounts.c.id == _risk.c.account_id)
        query = query.where(_accounts.c.user_id == bindparam("owner", type_=_uuid))
    before = query.with_for_update(of=_risk).cte("before")
    conditions = [select(func.count()).select_from(before).scalar_subquery() == 1]
    if versioned:
        version = before.c.id.cast(Text) + "." + before.c.row_version
        conditions.append(version == bindparam("version", type_=Text))
    return _amending(before, columns, false().label("has_duplicates"), *conditions)


def _amending(
    before: CTE,
    columns: frozenset[str],
    has_duplicates: ColumnElement[bool],
    *conditions: ColumnElement[bool],
) -> Statement:
    # The database keeps no track of updated_at. Never backwards: the newest row is the one that counts.
    now = func.greatest(func.clock_timestamp(), _risk.c.updated_at)
    query = update(_risk).where(_risk.c.id == before.c.id, *conditions)
    written = query.values(updated_at=now, **_bound(columns)).returning(*_amended, has_duplicates)
    return _with_audit(written.cte("written"), _limits(before), before)


def _with_audit(written: CTE, was: ColumnElement[Any], *sources: CTE) -> Statement:
    """Write the row and the audit line in one statement: each round trip holds the row's lock longer."""
    details = func.jsonb_build_object(
        *("account_id", written.c.account_id),
        *("risk_settings_id", written.c.id),
        *("by", bindparam("by", type_=Text)),
        *("before", was),
        *("after", _limits(written)),
    )
    line = select(literal("INFO"), literal("risk"), bindparam("message", type_=Text), details)
    line = line.select_from(written, *sources)
    audit = insert(_logs).from_select(["level", "component", "message", "details"], line).cte("audit")
    return compile_statement(select(written).add_cte(audit))


def _limits(row: CTE) -> ColumnElement[Any]:
    return func.jsonb_build_object(
        *(part for limit in LIMITS for part in (limit.column, _exact(row.c[limit.column])))
    )


def _exact(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A limit as the audit shows it: decimals as text, as everywhere in JSON."""
    return column.cast(Text) if isinstance(column.type, Numeric) else column
