import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

from graphql_api.auth import roles, users
from graphql_api.auth.passwords import Passwords
from graphql_api.auth.viewer import Role
from graphql_api.db.address import Address
from graphql_api.db.database import Database
from tests import factories
from tests.conftest import database_of
from tests.web.browser import ARGUMENTS, Visit

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRADER = "trader@example.com"
OPERATOR = "operator@example.com"
PASSWORD = "demo-password"


@dataclass
class Site:
    """A service in a process of its own, and the database it serves."""

    url: str
    connection: "asyncpg.Connection"
    account_id: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        message = "there is no chromium on PATH"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    browser: Browser, server: Address, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    name = f"test_{uuid4().hex}"
    admin = await server.connect_plain()
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    address = database_of(server, name)
    connection = await address.connect_plain(application="another program")
    account_id = await fill(address, connection)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    process = start(address, port, tmp_path_factory.mktemp("site"))
    try:
        url = f"http://127.0.0.1:{port}"
        await ready(url, process)
        yield Site(f"{url}/graphql", connection, account_id)
    finally:
        process.kill()
        process.wait()
        await connection.close()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def fill(address: Address, connection: "asyncpg.Connection") -> str:
    """A trader with a closed trade, and an operator. Returns the trader's account."""
    database, passwords = Database(address, pool_size=1), Passwords(threads=1)
    trader = await users.create(database, passwords, TRADER, PASSWORD)
    operator = await users.create(database, passwords, OPERATOR, PASSWORD)
    await roles.grant(database, operator, Role.OPERATOR)
    passwords.close()
    await database.close()
    account = await factories.account(connection, trader, account_number="L#000042")
    session = await factories.session(connection, account)
    await factories.trade(connection, session, symbol="XAUUSD", status="closed")
    return account


def start(address: Address, port: int, folder: Path) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "DATABASE_URL": address.dsn,
        "GRAPHQL_API_DATA_DIR": str(folder),
        "GRAPHQL_API_DEMO_LOGINS": json.dumps(dict.fromkeys((TRADER, OPERATOR), PASSWORD)),
    }
    command = [sys.executable, "-m", "graphql_api", "serve", "--port", str(port)]
    return subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.DEVNULL)


async def ready(url: str, process: subprocess.Popen[bytes]) -> None:
    async with httpx.AsyncClient() as client:
        while True:
            assert process.poll() is None
            try:
                if (await client.get(f"{url}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


Open = Callable[..., Any]


@pytest_asyncio.fixture(loop_scope="module")
async def visit_with(browser: Browser, site: Site) -> AsyncIterator[Open]:
    async with AsyncExitStack() as visits:

        async def open_(**options: Any) -> Visit:
            visit = await Visit.begin(browser, site.url, **options)
            visits.push_async_callback(visit.end)
            return visit

        yield open_


@pytest_asyncio.fixture(loop_scope="module")
async def visit(visit_with: Open) -> Visit:
    opened: Visit = await visit_with()
    return opened


async def test_a_tour_asks_no_other_host_and_raises_no_complaint(visit: Visit, site: Site) -> None:
    await visit.sign_in(OPERATOR)
    await visit.run()
    await expect(visit.response).to_contain_text(OPERATOR)
    await visit.choose_tab("Logs")
    await visit.run()
    await factories.system_log(site.connection, message="seen on the tour")
    await expect(visit.response).to_contain_text("seen on the tour")
    await visit.button("Show Documentation Explorer").click()
    await visit.button("Open settings dialog").click()
    await visit.page.keyboard.press("Escape")
    await visit.write("Query", "{ ")
    await visit.page.keyboard.press("Control+Space")
    await expect(visit.page.locator(".CodeMirror-hints")).to_contain_text("viewer")
    assert visit.hosts == {site.url.split("/")[2]}
    assert visit.complaints == []


async def test_a_first_visit_opens_the_starters_in_tabs(visit: Visit) -> None:
    assert await visit.page.locator(".graphiql-tab-button").all_text_contents() == ["Desk", "Logs", "Risk"]


async def test_a_query_shows_its_data(visit: Visit) -> None:
    await visit.write("Query", "{ __schema { queryType { name } } }")
    await visit.run()
    await expect(visit.response).to_contain_text('"name": "Query"')


async def test_without_a_login_queries_are_nobodys(visit: Visit) -> None:
    await visit.run()
    await expect(visit.response).to_contain_text("UNAUTHENTICATED")


async def test_signing_in_puts_the_token_into_queries(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    await visit.run()
    await expect(visit.response).to_contain_text("XAUUSD")


async def test_signing_in_by_e_mail_and_password(visit: Visit) -> None:
    await visit.page.get_by_label("E-mail").fill(TRADER)
    await visit.page.get_by_label("Password").fill(PASSWORD)
    await visit.page.keyboard.press("Enter")
    await expect(visit.page.locator(".who")).to_have_text(TRADER)


async def test_a_refused_login_says_why(visit: Visit) -> None:
    await visit.page.get_by_label("E-mail").fill(TRADER)
    await visit.page.get_by_label("Password").fill("a wrong password")
    await visit.page.keyboard.press("Enter")
    await expect(visit.page.get_by_role("alert")).to_contain_text("password")


async def test_a_login_outlasts_a_reload_but_not_the_tab(visit: Visit, visit_with: Open) -> None:
    await visit.sign_in(TRADER)
    await visit.open()
    await expect(visit.page.locator(".who")).to_have_text(TRADER)
    another = await visit_with()
    await expect(another.page.locator(".who")).to_have_text("Sign in")


async def test_signing_out_ends_the_login_at_the_server(visit: Visit, site: Site) -> None:
    await visit.sign_in(TRADER)
    token = (await stored(visit))["accessToken"]
    async with visit.page.expect_response(site.url):
        await visit.button("Sign out").click()
    await visit.run()
    await expect(visit.response).to_contain_text("UNAUTHENTICATED")
    assert (await ask(site, token)).status_code == 401


async def test_a_token_about_to_end_is_renewed(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    before = await stored(visit)
    await store(visit, {**before, "expiresAt": "2026-01-01T00:00:00Z"})
    await visit.open()
    await visit.run()
    await expect(visit.response).to_contain_text("XAUUSD")
    after = await stored(visit)
    assert after["refreshToken"] != before["refreshToken"]


async def test_a_login_that_ended_elsewhere_is_told(visit: Visit, site: Site) -> None:
    await visit.sign_in(TRADER)
    await ask(site, (await stored(visit))["accessToken"], "mutation { logout { userErrors { code } } }")
    await visit.run()
    await expect(visit.page.get_by_role("alert")).to_contain_text("The login has ended")
    await expect(visit.response).to_contain_text("UNAUTHENTICATED")


async def test_an_authorization_among_the_headers_goes_before_the_login(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    await visit.button("Headers").click()
    await visit.write("Headers", '{ "Authorization": "Bearer of another" }')
    await visit.run()
    await expect(visit.response).to_contain_text("UNAUTHENTICATED")
    await expect(visit.page.locator(".who")).to_have_text(TRADER)


async def test_the_docs_explorer_shows_descriptions(visit: Visit) -> None:
    await visit.button("Show Documentation Explorer").click()
    await visit.panel.get_by_text("Mutation", exact=True).click()
    await visit.panel.get_by_text("login", exact=True).click()
    await expect(visit.panel).to_contain_text("Signs in with e-mail and password.")


async def test_a_subscription_shows_what_another_program_writes(visit: Visit, site: Site) -> None:
    await visit.sign_in(OPERATOR)
    await visit.choose_tab("Logs")
    await visit.run()
    for number in range(1, 4):
        await factories.system_log(site.connection, message=f"line {number}")
        await expect(visit.response).to_contain_text(f"line {number}")


async def test_the_events_before_the_last_stay_in_sight(visit: Visit, site: Site) -> None:
    await visit.sign_in(OPERATOR)
    await visit.choose_tab("Logs")
    await visit.run()
    for message in ("the first", "the second"):
        await factories.system_log(site.connection, message=message)
        await expect(visit.response).to_contain_text(message)
    await expect(visit.page.get_by_role("region", name="Earlier events")).to_contain_text("the first")


async def test_a_subscription_that_is_refused_says_why(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    await visit.choose_tab("Logs")
    await visit.run()
    await expect(visit.response).to_contain_text("FORBIDDEN")


async def test_a_stopped_subscription_receives_no_more(visit: Visit, site: Site) -> None:
    await visit.sign_in(OPERATOR)
    await visit.choose_tab("Logs")
    sockets = []
    visit.page.on("websocket", sockets.append)
    await visit.run()
    await factories.system_log(site.connection, message="before the stop")
    await expect(visit.response).to_contain_text("before the stop")
    await visit.button("Stop query (Ctrl-Enter)").click()
    [opened] = sockets
    if not opened.is_closed():
        await opened.wait_for_event("close")


async def test_an_account_of_the_panel_is_filled_in_and_its_limits_change(visit: Visit, site: Site) -> None:
    await visit.sign_in(TRADER)
    await visit.choose_tab("Risk")
    await visit.button("L#000042").click()
    await visit.run()
    await expect(visit.response).to_contain_text('"riskPerTrade": "0.0150"')
    stored = await site.connection.fetchval(
        "SELECT risk_per_trade FROM risk_settings WHERE account_id = $1", site.account_id
    )
    assert str(stored) == "0.0150"


@pytest.mark.parametrize(("dark", "lightness"), [(False, range(200, 256)), (True, range(80))])
async def test_the_page_is_light_or_dark_as_the_browser_is(
    visit_with: Open, dark: bool, lightness: range
) -> None:
    visit = await visit_with(dark=dark)
    colour = await visit.page.locator(".graphiql-container").evaluate(
        "element => getComputedStyle(element).backgroundColor"
    )
    assert all(int(part) in lightness for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


async def test_on_a_phone_everything_is_within_reach(visit_with: Open) -> None:
    visit = await visit_with(width=390, height=844)
    await visit.sign_in(TRADER)
    await visit.run()
    await expect(visit.response).to_contain_text("XAUUSD")
    for part in (".graphiql-query-editor", ".graphiql-response", ".graphiql-sidebar", ".who"):
        await expect(visit.page.locator(part)).to_be_in_viewport(ratio=1)


async def stored(visit: Visit) -> dict[str, str]:
    """The tokens that the page keeps."""
    session = json.loads(await visit.page.evaluate("sessionStorage.getItem('session')"))
    tokens: dict[str, str] = session["state"]["tokens"]
    return tokens


async def store(visit: Visit, tokens: dict[str, str]) -> None:
    await visit.page.evaluate(
        """tokens => {
            const session = JSON.parse(sessionStorage.getItem('session'));
            session.state.tokens = tokens;
            sessionStorage.setItem('session', JSON.stringify(session));
        }""",
        tokens,
    )


async def ask(site: Site, token: str, query: str = "{ viewer { roles } }") -> httpx.Response:
    """Another client with the same token."""
    async with httpx.AsyncClient() as client:
        return await client.post(
            site.url, json={"query": query}, headers={"authorization": f"Bearer {token}"}
        )
