"""The whole application, over HTTP without a network in between."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
from fastapi import FastAPI

from graphql_api.app import create_app
from graphql_api.identity import service_tokens
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database
from graphql_api.transport.garbage_collection import GarbageCollection
from tests.graph import settings_for


@dataclass(frozen=True)
class App:
    """A client of the application, its database, and the application itself."""

    client: httpx.AsyncClient
    database: Database
    asgi: FastAPI

    async def token(self, *scopes: Scope, user_id: str | None = None) -> str:
        """Creates a service token with these scopes."""
        made = await service_tokens.create(self.database, "test", scopes, user_id=user_id, lifetime=None)
        return made.text

    async def ask(
        self,
        query: str | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> httpx.Response:
        """Sends one POST."""
        given = dict(headers or {}) | ({"authorization": f"Bearer {token}"} if token else {})
        body = {"query": query, "variables": variables, **parameters}
        return await self.client.post("/graphql", json=body, headers=given)


@asynccontextmanager
async def served(address: Address, folder: Path, **settings: Any) -> AsyncIterator[App]:
    """Runs the application with these settings."""
    app = create_app(settings_for(address, folder, **settings))
    transport = httpx.ASGITransport(app)
    database = Database(address)
    # The garbage collector is the test run's, not the application's.
    with patch.object(GarbageCollection, "start"):
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            yield App(client, database, app)
    await database.close()


def codes(response: httpx.Response) -> Sequence[str]:
    """Returns the codes of a response's errors."""
    return [error["extensions"]["code"] for error in response.json()["errors"]]
