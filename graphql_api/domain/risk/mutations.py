"""Changing risk settings."""

from typing import Annotated, Any

import strawberry

from graphql_api.domain.risk.limits import (
    LIMITS,
    SetRiskSettingsInput,
    UpdateRiskSettingsInput,
    changes,
    check_limits,
    whole,
)
from graphql_api.domain.risk.store import (
    Change,
    NotTheirsToChangeError,
    StaleVersionError,
    UnknownAccountError,
    write,
)
from graphql_api.domain.risk.types import RiskSettingsPayload
from graphql_api.execution.fields import resolved
from graphql_api.relational.context import Context
from graphql_api.relational.payloads import ErrorCode, UserError
from graphql_api.relational.permissions import signed_in
from graphql_api.relational.scalars import parse_id

Info = strawberry.Info[Context, None]
AccountId = Annotated[strawberry.ID, strawberry.argument(description="The UUID of the Account.")]
IfVersion = Annotated[
    str | None,
    strawberry.argument(
        description="The version that the change is meant for; without one, it is made to whatever stands."
    ),
]


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
    context.forget()
    return RiskSettingsPayload(account_id=account_id, risk_settings=row, user_errors=errors)


def _error(code: ErrorCode, message: str, argument: str) -> UserError:
    return UserError(code=code, message=message, field=[argument])
