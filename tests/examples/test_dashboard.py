"""The example dashboard in Chromium: what a trader sees, changes and follows, on a phone and offline."""

import functools
import gzip
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import asyncpg
import pytest
from playwright.async_api import Page, expect

from graphql_api.identity.viewer import Role
from graphql_api.postgres.address import Address
from tests import factories
from tests.browser import chromium
from tests.node import node_with
from tests.service.conftest import PASSWORD, Service, served_from

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FOLDER = Path(__file__).parents[2] / "examples" / "dashboard"
EMAIL = "trader@example.org"
FIRST_VIEW = 150 * 1024
"""Bytes, compressed, that the first view may have."""
WAIT = 60_000  # milliseconds; machines that run tests are busy


@pytest.fixture(scope="module")
def built() -> Path:
    """The dashboard's static files."""
    node = node_with(FOLDER)
    for program in (
        ("node_modules/@graphql-codegen/cli/esm/bin.js", "--config", "codegen.js"),
        ("node_modules/typescript/bin/tsc", "--noEmit"),
        ("build.mjs",),
    ):
        result = subprocess.run([node, *program], cwd=FOLDER, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
    return FOLDER / "dist"


@pytest.fixture(scope="module")
def pages(built: Path) -> Iterator[str]:
    """Where a server of static files has them."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=built)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


@pytest.fixture
async def service(address: Address, tmp_path: Path) -> AsyncIterator[Service]:
    async with served_from(address, tmp_path, GRAPHQL_API_SECRET_KEY="k" * 32) as service:
        await service.user(EMAIL)
        yield service


@pytest.fixture
async def account(service: Service, connection: "asyncpg.Connection") -> str:
    """An account of the trader's, with trades of three days."""
    user = await connection.fetchval("SELECT id FROM users WHERE email = $1", EMAIL)
    account = await factories.account(connection, str(user), account_number="L#000042")
    session = await factories.session(connection, account)
    for pnl in (10, -4, 7):
        await factories.trade(connection, session, symbol="XAUUSD", status="closed", pnl=pnl)
    await factories.risk_settings(connection, account, max_daily_loss=500, max_open_positions=3)
    return account


@pytest.fixture
async def visitor(service: Service, pages: str) -> AsyncIterator[Page]:
    """The page on a phone's width."""
    async with chromium() as browser:
        context = await browser.new_context(viewport={"width": 390, "height": 844})
        page = await context.new_page()
        page.set_default_timeout(WAIT)
        await page.goto(f"{pages}/?api={service.url}")
        yield page


async def sign_in(page: Page, email: str) -> None:
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("status")).to_have_text("live", timeout=WAIT)


@pytest.fixture
async def page(visitor: Page, account: str) -> Page:
    """The same, with the trader signed in."""
    await sign_in(visitor, EMAIL)
    await expect(visitor.get_by_role("region", name="Trades")).to_contain_text("XAUUSD", timeout=WAIT)
    return visitor


def test_the_first_view_is_small(built: Path) -> None:
    first = [file for file in built.iterdir() if file.name in ("index.html", "app.js", "app.css")]
    assert len(first) == 3
    assert sum(len(gzip.compress(file.read_bytes())) for file in first) <= FIRST_VIEW


async def test_an_account_is_seen_changed_and_followed(
    page: Page, account: str, connection: "asyncpg.Connection"
) -> None:
    await expect(page.get_by_role("button", name="L#000042")).to_be_visible()
    await expect(page.get_by_role("img", name="Equity curve")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390

    risk = page.get_by_role("region", name="Risk")
    await expect(risk).to_contain_text("of 500")
    await risk.get_by_role("textbox", name="Positions").fill("7")
    await risk.get_by_role("button", name="Change").click()
    await expect(risk).to_contain_text("Changed.", timeout=WAIT)
    assert await connection.fetchval("SELECT max_open_positions FROM risk_settings") == 7

    await risk.get_by_role("textbox", name="Per trade").fill("2")
    await risk.get_by_role("button", name="Change").click()
    await expect(risk).to_contain_text("riskPerTrade must be between 0 and 1", timeout=WAIT)

    session = await factories.session(connection, account)
    await factories.trade(connection, session, symbol="BTCUSD")
    await expect(page.get_by_role("region", name="Trades")).to_contain_text("BTCUSD", timeout=WAIT)


async def test_it_is_read_offline_and_goes_on_when_the_service_is_back(
    page: Page, service: Service, account: str, connection: "asyncpg.Connection"
) -> None:
    status = page.get_by_role("status")
    await expect(status).to_have_text("live", timeout=WAIT)
    service.kill()
    await expect(status).to_contain_text("offline", timeout=WAIT)
    session = await factories.session(connection, account)
    await factories.trade(connection, session, symbol="MEANWHILE")
    trades = page.get_by_role("region", name="Trades")
    await expect(trades).to_contain_text("XAUUSD")

    await page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    await page.evaluate("dispatchEvent(new Event('visibilitychange'))")  # as when an app is put away
    await page.reload()
    await expect(trades).to_contain_text("XAUUSD", timeout=WAIT)

    await service.start()
    await expect(trades).to_contain_text("MEANWHILE", timeout=WAIT)


async def test_an_operator_reads_the_log_as_it_is_written(
    visitor: Page, service: Service, connection: "asyncpg.Connection"
) -> None:
    await service.user("operator@example.org", role=Role.OPERATOR)
    await sign_in(visitor, "operator@example.org")
    log = visitor.get_by_role("region", name="Log")
    for number in range(3):
        await factories.system_log(connection, message=f"line {number}")
    await expect(log).to_contain_text("line 2", timeout=WAIT)
