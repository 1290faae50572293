import json

import pytest
from playwright.async_api import expect

from graphql_api.identity import service_tokens
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.database import Database
from tests import factories
from tests.transport.graphiql.conftest import Site
from tests.transport.graphiql.test_exploring import follow_logs
from tests.transport.graphiql.visit import OPERATOR, PASSWORD, TRADER, Visit

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]


async def enter(visit: Visit, password: str) -> None:
    await visit.page.get_by_label("E-mail").fill(TRADER)
    await visit.page.get_by_label("Password").fill(password)
    await visit.page.keyboard.press("Enter")


async def test_without_a_login_queries_are_nobodys(visit: Visit) -> None:
    await visit.run()
    await expect(visit.response).to_contain_text("UNAUTHENTICATED")


async def test_a_demo_login_puts_its_token_into_queries(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    await visit.run()
    await expect(visit.response).to_contain_text("XAUUSD")


async def test_signing_in_by_e_mail_and_password(visit: Visit) -> None:
    await enter(visit, PASSWORD)
    await expect(visit.who).to_have_text(TRADER)


async def test_a_refused_login_says_why(visit: Visit) -> None:
    await enter(visit, "a wrong password")
    await expect(visit.page.get_by_role("alert")).to_contain_text("password")


async def test_a_login_outlasts_a_reload(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    await visit.open()
    await expect(visit.who).to_have_text(TRADER)


async def test_a_login_is_not_another_tabs(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    another = Visit(await visit.page.context.new_page(), visit.url)
    await another.open()
    await expect(another.who).to_have_text("Sign in")


async def test_signing_out_ends_the_login_at_the_server(visit: Visit, site: Site) -> None:
    await visit.sign_in(TRADER)
    tokens = await visit.tokens()
    async with visit.page.expect_response(site.url):
        await visit.button("Sign out").click()
    assert (await site.ask("{ viewer { roles } }", tokens["accessToken"])).status_code == 401


async def test_after_signing_out_queries_are_nobodys(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    await visit.button("Sign out").click()
    await visit.run()
    await expect(visit.response).to_contain_text("UNAUTHENTICATED")


async def test_a_token_about_to_end_is_renewed(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    before = await visit.tokens()
    await visit.keep({**before, "expiresAt": "2026-01-01T00:00:00Z"})
    await visit.open()
    await visit.run()
    await expect(visit.response).to_contain_text("XAUUSD")
    assert (await visit.tokens())["refreshToken"] != before["refreshToken"]


async def test_a_login_that_ended_elsewhere_is_told(visit: Visit, site: Site) -> None:
    await visit.sign_in(TRADER)
    tokens = await visit.tokens()
    await site.ask("mutation { logout { userErrors { code } } }", tokens["accessToken"])
    await visit.run()
    await expect(visit.page.get_by_role("alert")).to_contain_text("The login has ended")
    await expect(visit.response).to_contain_text("UNAUTHENTICATED")


async def test_an_authorization_among_the_headers_goes_before_the_login(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    await visit.button("Headers").click()
    await visit.write("Headers", '{ "Authorization": "Bearer of another" }')
    await visit.run()
    await expect(visit.response).to_contain_text("UNAUTHENTICATED")
    await expect(visit.who).to_have_text(TRADER)


async def test_a_login_that_ends_during_a_subscription_is_said_in_words(visit: Visit, site: Site) -> None:
    await follow_logs(visit, site)
    tokens = await visit.tokens()
    await site.ask("mutation { logout { userErrors { code } } }", tokens["accessToken"])
    await expect(visit.response).to_contain_text("The server closed the connection: 4403")
    await expect(visit.response).to_contain_text("Sign in again.")
    await expect(visit.response).not_to_contain_text("stack")
    await expect(visit.page.get_by_role("alert")).to_contain_text("The login has ended")


async def test_a_token_that_ends_during_a_subscription_is_said_in_words(visit: Visit, site: Site) -> None:
    database = Database(site.address, pool_size=1)
    token = await service_tokens.create(database, "test", [Scope.LOGS_READ], user_id=None, lifetime=None)
    await database.close()
    await factories.system_log(site.connection)
    await visit.sign_in(OPERATOR)
    await visit.choose_tab("Logs")
    await visit.button("Headers").click()
    await visit.write("Headers", json.dumps({"Authorization": f"Bearer {token.text}"}))
    await visit.run()
    await expect(visit.response).to_contain_text('"replayed": true')
    await site.connection.execute("UPDATE graphql_api.service_tokens SET expires_at = now()")
    await expect(visit.response).to_contain_text("The server closed the connection: 4403")
    await expect(visit.response).to_contain_text("Run the operation again to go on.")
    await expect(visit.response).not_to_contain_text("stack")


async def test_a_server_that_cant_be_reached_is_said_in_words(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    await visit.page.context.set_offline(True)
    await visit.run()
    await expect(visit.response).to_contain_text("The server can't be reached")
    await expect(visit.response).not_to_contain_text("stack")
