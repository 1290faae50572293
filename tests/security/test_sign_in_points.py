"""No flood of other requests from an address takes the points that people there need to sign in."""

from pathlib import Path

from graphql_api.postgres.address import Address
from tests.app import codes, served

LOGIN = 'mutation { login(email: "ada@example.com", password: "wrong") { userErrors { code } } }'
POINTS = {"max_cost": 20_000, "points_per_minute": 20_000}


async def test_a_document_too_long_to_be_read_costs_no_more_than_the_longest(
    address: Address, tmp_path: Path
) -> None:
    async with served(address, tmp_path, **POINTS) as app:
        for _ in range(2):
            answer = await app.ask("{ viewer { roles } }" + " " * 900_000)
            assert answer.status_code in (200, 400, 429)
        assert codes(answer) == ["RATE_LIMITED"]
        answer = await app.ask("{ viewer { roles } }")
        assert codes(answer) == ["UNAUTHENTICATED"]


async def test_a_flood_from_an_address_keeps_nobody_there_from_signing_in(
    address: Address, tmp_path: Path
) -> None:
    async with served(address, tmp_path, **POINTS) as app:
        while codes(await app.ask("{ viewer { roles } } #" + " " * 14_000)) != ["RATE_LIMITED"]:
            pass
        for number in range(400):
            answer = await app.ask(f"{{ a{number}: viewer {{ roles }} }}")
        assert codes(answer) == ["RATE_LIMITED"]
        answer = await app.ask(LOGIN)
        assert answer.json()["data"]["login"]["userErrors"] == [{"code": "INVALID_CREDENTIALS"}]
