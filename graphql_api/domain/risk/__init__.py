"""Risk settings: the limits an account's bot keeps to."""

from graphql_api.domain.risk.mutations import Mutation
from graphql_api.domain.risk.types import RiskSettings, current_risk_settings

__all__ = ["Mutation", "RiskSettings", "current_risk_settings"]
