"""The mutation: the same lock, change and line of audit as ours."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import strawberry
from sqlalchemy import func, select

from benchmarks.peers.conventional import models
from benchmarks.peers.conventional.graph import Info

LIMITS = ("max_daily_loss", "max_position_size", "max_open_positions", "risk_per_trade")


@strawberry.type
class RiskSettings:
    """The limits of an account."""

    id: UUID
    max_daily_loss: Decimal | None
    max_position_size: Decimal | None
    max_open_positions: int | None
    risk_per_trade: Decimal | None


@strawberry.input
class RiskSettingsInput:
    """What to change."""

    max_daily_loss: Decimal | None = strawberry.UNSET
    max_position_size: Decimal | None = strawberry.UNSET
    max_open_positions: int | None = strawberry.UNSET
    risk_per_trade: Decimal | None = strawberry.UNSET


@strawberry.type
class Mutation:
    """The changes."""

    @strawberry.mutation
    async def update_risk_settings(
        self,
        info: Info,
        account_id: UUID,
        input: RiskSettingsInput,  # noqa: A002
    ) -> RiskSettings | None:
        """Change an account's limits."""
        lock = select(models.Account.id).where(models.Account.id == account_id)
        current = (
            select(models.RiskSettings)
            .where(models.RiskSettings.account_id == account_id)
            .order_by(models.RiskSettings.updated_at.desc().nulls_last(), models.RiskSettings.id.desc())
            .limit(1)
            .with_for_update()
        )
        async with info.context.sessions() as session, session.begin():
            await session.scalar(lock.with_for_update(key_share=True))
            row = (await session.scalars(current)).one()
            before = _limits(row)
            for name in LIMITS:
                value = getattr(input, name)
                if value is not strawberry.UNSET:
                    setattr(row, name, value)
            row.updated_at = func.greatest(func.clock_timestamp(), models.RiskSettings.updated_at)
            await session.flush()
            await session.refresh(row)
            session.add(
                models.SystemLog(
                    level="INFO",
                    component="risk",
                    message=f"risk settings updated for account {account_id}",
                    details={"before": before, "after": _limits(row)},
                )
            )
        written: Any = row
        settings: RiskSettings | None = written
        return settings


def _limits(row: models.RiskSettings) -> dict[str, str]:
    return {name: str(getattr(row, name)) for name in LIMITS}
