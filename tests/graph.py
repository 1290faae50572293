"""The graph over a database, queried within the process."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr

from graphql_api.app import build_operations, build_services, close_services
from graphql_api.execution.operations import GraphQLRequest, Operations
from graphql_api.execution.subscriptions import Subscriptions
from graphql_api.identity.viewer import ANONYMOUS, LoginCredential, Role, Viewer, scopes_of
from graphql_api.postgres.address import Address
from graphql_api.relational.context import Context, Services
from graphql_api.settings import Settings


@dataclass(frozen=True)
class Answer:
    """A response, with the number of SQL statements that it took."""

    body: dict[str, Any]
    statements: int

    @property
    def data(self) -> Any:
        """The data. Asserts that there are no errors."""
        assert "errors" not in self.body, self.body["errors"]
        return self.body["data"]

    @property
    def errors(self) -> list[dict[str, Any]]:
        return list(self.body.get("errors", []))

    @property
    def error(self) -> dict[str, Any]:
        """The error. Asserts that there is exactly one."""
        (error,) = self.errors
        return error


@dataclass
class Graph:
    """The schema over a database, and the viewer whose operations it runs."""

    services: Services
    operations: Operations
    viewer: Viewer = ANONYMOUS
    subscriptions: Subscriptions = field(init=False)

    def __post_init__(self) -> None:
        self.subscriptions = Subscriptions(self.operations)

    def as_(self, viewer: Viewer) -> "Graph":
        """Returns the same graph with another viewer."""
        graph = copy(self)
        graph.viewer = viewer
        return graph

    async def ask(self, query: str, variables: Mapping[str, Any] | None = None) -> Answer:
        """Runs a query or a mutation."""
        context = Context(self.viewer, self.services)
        operation = self.operations.prepare(GraphQLRequest(query, None, variables))
        result = await self.operations.execute(operation, context)
        return Answer(orjson.loads(result.render()), context.db.statements)


def trader(user_id: str) -> Viewer:
    """Returns the viewer of a user's access token."""
    roles = frozenset({Role.USER})
    return Viewer(user_id=user_id, roles=roles, scopes=scopes_of(roles), credential=LoginCredential("test"))


def operator(user_id: str | None = None) -> Viewer:
    """Returns the viewer of an operator, who may read all tenants' rows and the log."""
    roles = frozenset({Role.USER, Role.OPERATOR})
    return Viewer(user_id=user_id, roles=roles, scopes=scopes_of(roles), credential=LoginCredential("test"))


def settings_for(address: Address, folder: Path, **values: Any) -> Settings:
    """Returns settings with a test's database and folder."""
    # Logins take long on a busy machine: threads that hash passwords give way to all others.
    given: dict[str, Any] = {"operation_timeout": 90, **values}
    return Settings(
        database_url=SecretStr(address.dsn), data_dir=folder, secret_key=SecretStr("k" * 32), **given
    )


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Graph]:
    """Builds the graph with these settings."""
    services = build_services(settings)
    try:
        yield Graph(services, build_operations(settings))
    finally:
        await close_services(services)
