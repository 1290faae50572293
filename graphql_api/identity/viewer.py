"""Who asks: the roles and scopes they hold, and the tenants whose rows that opens to them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

NOBODY: Final = "00000000-0000-0000-0000-000000000000"
"""The tenant that owns no row. A statement that compares owners with it finds nothing, whereas a missing
tenant would have to be read as none at all or as everyone: that confusion can't be written."""


class Scope(StrEnum):
    """One thing a viewer may do."""

    GRAPH_READ = "graph:read"
    """Read the user's own accounts, sessions, trades and risk settings."""
    GRAPH_READ_ANY = "graph:read:any"
    """Read every tenant's."""
    RISK_WRITE = "risk:write"
    """Change the risk settings of the user's own accounts."""
    RISK_WRITE_ANY = "risk:write:any"
    """Change those of every tenant's."""
    LOGS_READ = "logs:read"
    """Read and follow system logs."""


class Role(StrEnum):
    """What a person is to the platform: a user by their row in `users`, the others by a grant."""

    USER = "user"
    OPERATOR = "operator"
    ADMIN = "admin"


_OWN = frozenset({Scope.GRAPH_READ, Scope.RISK_WRITE})
_OPERATIONS = frozenset({Scope.GRAPH_READ_ANY, Scope.LOGS_READ})

SCOPES: Final[Mapping[Role, frozenset[Scope]]] = {
    Role.USER: _OWN,
    Role.OPERATOR: _OPERATIONS,
    Role.ADMIN: frozenset(Scope),
}


def scopes_of(roles: Iterable[Role]) -> frozenset[Scope]:
    """What these roles allow together."""
    return frozenset().union(*(SCOPES[role] for role in roles))


@dataclass(frozen=True, slots=True)
class Login:
    """A token that a login led to, by its family's id."""

    family: str


@dataclass(frozen=True, slots=True)
class ServiceToken:
    """A token made for a program, by the digest it is stored under."""

    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks, as they were when their token was last checked."""

    user_id: str | None = None
    """The UUID of their row in `users`; None for a service that acts for no user."""
    email: str | None = None
    roles: frozenset[Role] = frozenset()
    scopes: frozenset[Scope] = frozenset()
    expires_at: datetime | None = None
    """When their token ends, in UTC; None for a service token that does not."""
    credential: Login | ServiceToken | None = None
    """What they showed; None for nobody."""

    @property
    def is_authenticated(self) -> bool:
        """Whether a token vouches for them."""
        return self.credential is not None

    @property
    def principal(self) -> str | None:
        """What tells them from other viewers: a user's id or a service token's digest; None for nobody."""
        if isinstance(self.credential, ServiceToken):
            return self.credential.digest.hex()
        return self.user_id

    @property
    def tenant(self) -> str | None:
        """The user whose rows they may read: an id, NOBODY, or None for every tenant's."""
        return self._tenant(Scope.GRAPH_READ, Scope.GRAPH_READ_ANY)

    @property
    def reading(self) -> tuple[frozenset[Scope], str | None]:
        """What they may read: viewers for whom it is equal see the same in the same rows."""
        return self.scopes, self.tenant

    @property
    def risk_tenant(self) -> str | None:
        """The user whose risk settings they may change: an id, NOBODY, or None for every tenant's.

        Whoever may read every tenant's rows may by no means change them.
        """
        return self._tenant(Scope.RISK_WRITE, Scope.RISK_WRITE_ANY)

    def _tenant(self, own: Scope, every: Scope) -> str | None:
        if every in self.scopes:
            return None
        if own in self.scopes and self.user_id is not None:
            return self.user_id
        return NOBODY


ANONYMOUS: Final = Viewer()
"""Whoever sends no token."""
