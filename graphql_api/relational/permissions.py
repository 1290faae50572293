"""Who may ask for a field at all. Which rows they then see is tenancy, and part of every statement.

Every root field names one of these; a field below the root needs none, since its parent was allowed.
"""

from graphql_api.identity.viewer import Scope
from graphql_api.relational.context import Context
from graphql_api.relational.errors import ForbiddenError, UnauthenticatedError

READS_GRAPH = frozenset({Scope.GRAPH_READ, Scope.GRAPH_READ_ANY})
READS_LOGS = frozenset({Scope.LOGS_READ})


def anyone(_: Context) -> None:
    """Even nobody: login, and what leads to it."""


def signed_in(context: Context) -> None:
    """Any viewer, human or service."""
    if not context.viewer.is_authenticated:
        raise UnauthenticatedError


def reads_graph(context: Context) -> None:
    """Users, operators, and services with a scope for it. Whose rows they then see is tenancy."""
    signed_in(context)
    if READS_GRAPH.isdisjoint(context.viewer.scopes):
        raise ForbiddenError(Scope.GRAPH_READ)


def reads_logs(context: Context) -> None:
    """Operators, and services with the scope logs:read."""
    signed_in(context)
    if READS_LOGS.isdisjoint(context.viewer.scopes):
        raise ForbiddenError(Scope.LOGS_READ)
