"""Floods of anonymous requests, from one address or several, don't affect viewers who have signed in."""

from pathlib import Path

import httpx

from graphql_api.identity.viewer import Scope
from graphql_api.postgres.address import Address
from tests.app import App, codes, served

POINTS = {"max_cost": 20_000, "points_per_minute": 20_000}


async def flood(app: App) -> None:
    """Sends new documents until they are refused."""
    for number in range(200):
        if codes(await app.ask(f"{{ a{number}: viewer {{ roles }} }}")) == ["RATE_LIMITED"]:
            return
    raise AssertionError("was never refused")


def from_address(app: App, address: str) -> App:
    transport = httpx.ASGITransport(app.asgi, client=(address, 1))
    return App(httpx.AsyncClient(transport=transport, base_url="http://test"), app.database, app.asgi)


async def test_whoever_has_signed_in_pays_for_new_documents_where_their_address_is_flooded(
    address: Address, tmp_path: Path
) -> None:
    async with served(address, tmp_path, **POINTS) as app:
        token = await app.token(Scope.GRAPH_READ_ANY)
        await flood(app)
        answer = await app.ask("{ new: viewer { roles } }", token=token)
        assert "errors" not in answer.json()
        assert codes(await app.ask("{ other: viewer { roles } }")) == ["RATE_LIMITED"]


async def test_several_addresses_have_no_more_together_than_two(address: Address, tmp_path: Path) -> None:
    async with served(address, tmp_path, **POINTS) as app:
        for number in (1, 2):
            await flood(from_address(app, f"198.51.100.{number}"))
        third = from_address(app, "198.51.100.3")
        answers = [codes(await third.ask(f"{{ b{number}: viewer {{ roles }} }}")) for number in range(8)]
        assert ["RATE_LIMITED"] in answers


async def test_tokens_that_nobody_has_cost_points(address: Address, tmp_path: Path) -> None:
    async with served(address, tmp_path, **POINTS) as app:
        known = await app.token(Scope.GRAPH_READ_ANY)
        assert "errors" not in (await app.ask("{ viewer { roles } }", token=known)).json()
        answers = [
            codes(await app.ask("{ viewer { roles } }", token=f"gas_{number:043}")) for number in range(500)
        ]
        assert answers[0] == ["UNAUTHENTICATED"]
        assert answers[-1] == ["RATE_LIMITED"]
        # One that the process has cached is found without the database.
        assert "errors" not in (await app.ask("{ viewer { roles } }", token=known)).json()
