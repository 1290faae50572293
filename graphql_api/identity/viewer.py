"""The viewer that an operation runs for: roles, scopes, and the tenant whose rows it may read or change."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Final

NO_TENANT: Final = "00000000-0000-0000-0000-000000000000"
"""A tenant that owns no row, for viewers who may read none: a statement that compares owners with it finds
nothing. (None would stand for every tenant.)"""


CLOCK_SKEW: Final = timedelta(minutes=1)
"""How far apart the clocks of two hosts may be. A token is accepted for so long after its expiry, and also if
it was issued so far in the future, since another host may have issued it."""


class Scope(StrEnum):
    """A permission."""

    GRAPH_READ = "graph:read"
    GRAPH_READ_ANY = "graph:read:any"
    RISK_WRITE = "risk:write"
    RISK_WRITE_ANY = "risk:write:any"
    LOGS_READ = "logs:read"


SCOPE_MEANINGS: Final[Mapping[Scope, str]] = {
    Scope.GRAPH_READ: "Read the user's own accounts, sessions, trades and risk settings.",
    Scope.GRAPH_READ_ANY: "Read those of every tenant.",
    Scope.RISK_WRITE: "Change the risk settings of the user's own accounts.",
    Scope.RISK_WRITE_ANY: "Change those of every tenant.",
    Scope.LOGS_READ: "Read and follow system logs.",
}
"""What each permission allows, as the command line and docs/tokens.md describe it."""


class Role(StrEnum):
    """A role of a user. Every row in `users` has the role `user`; the others are granted."""

    USER = "user"
    OPERATOR = "operator"
    ADMIN = "admin"


ROLE_SCOPES: Final[Mapping[Role, frozenset[Scope]]] = {
    Role.USER: frozenset({Scope.GRAPH_READ, Scope.RISK_WRITE}),
    Role.OPERATOR: frozenset({Scope.GRAPH_READ_ANY, Scope.LOGS_READ}),
    Role.ADMIN: frozenset(Scope),
}


def scopes_of(roles: Iterable[Role]) -> frozenset[Scope]:
    """Returns the scopes of these roles together."""
    return frozenset().union(*(ROLE_SCOPES[role] for role in roles))


@dataclass(frozen=True, slots=True)
class LoginCredential:
    """An access token of a login, by the login's id."""

    login_id: str


@dataclass(frozen=True, slots=True)
class ServiceTokenCredential:
    """A service token, by the digest under which it is stored."""

    digest: bytes = field(repr=False)


@dataclass(frozen=True)
class Viewer:
    """Who an operation runs for, as of the last check of the token. Derived values are computed once."""

    user_id: str | None = None
    """The id of their row in `users`; None for a service that acts for no user."""
    email: str | None = None
    roles: frozenset[Role] = frozenset()
    scopes: frozenset[Scope] = frozenset()
    expires_at: datetime | None = None
    """When their token expires, in UTC; None for a service token that doesn't."""
    credential: LoginCredential | ServiceTokenCredential | None = None
    """The token that they sent; None for an anonymous viewer."""

    @cached_property
    def is_authenticated(self) -> bool:
        """Whether they sent a valid token."""
        return self.credential is not None

    @cached_property
    def valid_until(self) -> datetime | None:
        """Until when their token is accepted: CLOCK_SKEW after its expiry; None if it has none."""
        return None if self.expires_at is None else self.expires_at + CLOCK_SKEW

    @cached_property
    def principal(self) -> str | None:
        """A user's id or a service token's digest in hexadecimal; None for an anonymous viewer."""
        if isinstance(self.credential, ServiceTokenCredential):
            return self.credential.digest.hex()
        return self.user_id

    @cached_property
    def tenant(self) -> str | None:
        """The user whose rows they may read: an id, NO_TENANT, or None for every tenant."""
        return self._tenant(Scope.GRAPH_READ, Scope.GRAPH_READ_ANY)

    @cached_property
    def read_access(self) -> tuple[frozenset[Scope], str | None]:
        """Their scopes and tenant: viewers with equal read access read the same values of the same rows."""
        return self.scopes, self.tenant

    @cached_property
    def risk_tenant(self) -> str | None:
        """The user whose risk settings they may change: an id, NO_TENANT, or None for every tenant.

        An operator may read every tenant's rows, but change none.
        """
        return self._tenant(Scope.RISK_WRITE, Scope.RISK_WRITE_ANY)

    def _tenant(self, own: Scope, every: Scope) -> str | None:
        if every in self.scopes:
            return None
        if own in self.scopes and self.user_id is not None:
            return self.user_id
        return NO_TENANT


ANONYMOUS: Final = Viewer()
"""The viewer of a request without a token."""
