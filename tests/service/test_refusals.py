"""Bad input over HTTP: a clear error, nothing changed, nothing leaked."""

import re

import asyncpg
import pytest

from graphql_api.identity.viewer import Role
from tests import factories
from tests.service.conftest import LOGIN, PASSWORD, Service

pytestmark = pytest.mark.slow


async def test_a_wrong_password_reads_like_an_unknown_address(service: Service) -> None:
    await service.user("trader@example.org")
    wrong = await service.ask(LOGIN, {"email": "trader@example.org", "password": "not it, not it"})
    unknown = await service.ask(LOGIN, {"email": "nobody@example.org", "password": PASSWORD})

    assert wrong.status_code == unknown.status_code == 200
    assert wrong.json() == unknown.json()
    assert wrong.json()["data"]["login"]["userErrors"] == [
        {"code": "INVALID_CREDENTIALS", "message": "the e-mail or the password is wrong"}
    ]


async def test_a_bad_token_is_401(service: Service) -> None:
    response = await service.ask("{ viewer { roles } }", token="not.a.token")

    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


BAD = {
    '{ trade(id: "7") { id } }': "id: must be a UUID",
    "{ trades(first: 0) { totalCount } }": "first: must be between 1 and 100",
    "{ trades(first: 101) { totalCount } }": "first: must be between 1 and 100",
    '{ trades(after: "x") { totalCount } }': "after: is not a cursor that this list gave out",
    '{ trades(filter: {pnl: {gt: "1_5"}}) { totalCount } }': "filter.pnl.gt: must be a decimal number",
    "{ trades(filter: {pnl: {gt: true}}) { totalCount } }": "Decimal must be a number, or a string",
    '{ trades(filter: {entryTime: {gte: "2026"}}) { totalCount } }': "DateTime must be RFC 3339",
    "{ nothing }": "Cannot query field 'nothing' on type 'Query'.",
}


async def test_a_bad_argument_is_named_with_its_rule(service: Service) -> None:
    token = await service.user("trader@example.org")
    answers = {query: (await service.ask(query, token=token)).json()["errors"] for query in BAD}

    for query, rule in BAD.items():
        (error,) = answers[query]
        assert rule in error["message"]
        assert "Traceback" not in str(error)


async def test_an_unexpected_error_is_masked_with_an_id_that_the_log_has(
    service: Service, connection: "asyncpg.Connection"
) -> None:
    token = await service.user("operator@example.org", role=Role.OPERATOR)
    await factories.strategy(connection)
    await connection.execute("ALTER TABLE ai_strategies ALTER COLUMN created_at TYPE text USING 'once'")
    (error,) = (await service.ask("{ strategies { nodes { createdAt } } }", token=token)).json()["errors"]

    assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert not re.search(r"created|once|SELECT|asyncpg|File", error["message"])
    assert error["extensions"]["incident"] in service.log.read_text()


async def test_the_service_stops_orderly_when_told(service: Service) -> None:
    assert service.stop() == 0
