"""Checks of root fields: who may ask for one at all. Which rows they then see is tenancy (`entity`).

Every root field names a check; a field below the root needs none, since its parent was allowed. A check
raises UnauthenticatedError or ForbiddenError.
"""

from graphql_api.identity.viewer import Scope
from graphql_api.relational.context import Context
from graphql_api.relational.errors import ForbiddenError, UnauthenticatedError

READS_GRAPH = frozenset({Scope.GRAPH_READ, Scope.GRAPH_READ_ANY})
READS_LOGS = frozenset({Scope.LOGS_READ})


def anyone(_: Context) -> None:
    """Allows everybody, signed in or not: for login and similar fields."""


def signed_in(context: Context) -> None:
    """Allows any viewer, human or service."""
    if not context.viewer.is_authenticated:
        raise UnauthenticatedError


def reads_graph(context: Context) -> None:
    """Allows users, operators, and services with the scope graph:read or graph:read:any."""
    signed_in(context)
    if READS_GRAPH.isdisjoint(context.viewer.scopes):
        raise ForbiddenError(Scope.GRAPH_READ)


def reads_logs(context: Context) -> None:
    """Allows operators, and services with the scope logs:read."""
    signed_in(context)
    if READS_LOGS.isdisjoint(context.viewer.scopes):
        raise ForbiddenError(Scope.LOGS_READ)
