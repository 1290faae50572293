"""Who may ask for a field at all. Which rows they then see is tenancy, and part of every statement.

Every root field names one of these; a field below the root needs none, since its parent was allowed.
"""

from graphql_api.auth.viewer import Scope
from graphql_api.graph.context import Context
from graphql_api.graph.errors import ForbiddenError, UnauthenticatedError


def anyone(_: Context) -> None:
    """Even nobody: login, and what leads to it."""


def signed_in(context: Context) -> None:
    """Any viewer, human or service."""
    if not context.viewer.is_authenticated:
        raise UnauthenticatedError


def reads_logs(context: Context) -> None:
    """Operators, and services with the scope logs:read."""
    signed_in(context)
    if Scope.LOGS_READ not in context.viewer.scopes:
        raise ForbiddenError(Scope.LOGS_READ)
