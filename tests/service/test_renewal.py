"""Getting a new token with a client that sends its old one with every request."""

import pytest

from tests.service.conftest import LOGIN, PASSWORD, Service

pytestmark = pytest.mark.slow

RENEW = """
mutation ($token: String!) {
  refreshToken(refreshToken: $token) { accessToken viewer { user { email } } userErrors { code } }
}
"""
BAD = "not.a.token"


@pytest.fixture
async def refresh_token(service: Service) -> str:
    await service.user("trader@example.org")
    answer = await service.ask(LOGIN, {"email": "trader@example.org", "password": PASSWORD}, token=BAD)
    return str(answer.json()["data"]["login"]["refreshToken"])


async def test_a_token_that_has_ended_hinders_neither_login_nor_renewal(
    service: Service, refresh_token: str
) -> None:
    answer = (await service.ask(RENEW, {"token": refresh_token}, token=BAD)).json()["data"]["refreshToken"]

    assert answer["userErrors"] == []
    assert answer["viewer"]["user"]["email"] == "trader@example.org"


async def test_it_hinders_whatever_else_is_asked_along_with_them(service: Service) -> None:
    reset = 'resetRiskSettings(accountId: "7") { userErrors { code } }'
    both = f"mutation {{ logout {{ userErrors {{ code }} }} {reset} }}"
    for query in (both, "{ viewer { roles } }"):
        answer = await service.ask(query, token=BAD)
        assert answer.status_code == 401
        assert answer.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
