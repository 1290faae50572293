"""The example dashboard in Chromium: what a trader sees, changes and follows, on a phone and offline."""

import asyncio
import functools
import gzip
import json
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from playwright.async_api import Page, Route, WebSocket, expect

from graphql_api.identity.viewer import Role
from graphql_api.postgres.address import Address
from tests import factories
from tests.browser import chromium
from tests.http_client import http_client
from tests.node import node_with
from tests.once import once_a_run
from tests.service.conftest import PASSWORD, Service, served_from
from tests.transport import scripts
from tests.transport.conftest import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FOLDER = Path(__file__).parents[2] / "examples" / "dashboard"
EMAIL = "trader@example.org"
FIRST_VIEW = 150 * 1024
"""Bytes, compressed, that the first view may have."""
ZONE = ZoneInfo("Europe/Berlin")
"""Where the visitor lives."""
AXE = scripts.FOLDER / "node_modules" / "axe-core" / "axe.min.js"
WAIT = 60_000  # milliseconds; machines that run tests are busy


@pytest.fixture(scope="module")
def built() -> Path:
    """The dashboard's static files."""
    node = node_with(FOLDER)

    def build(_: Path) -> None:
        for program in (
            ("node_modules/@graphql-codegen/cli/esm/bin.js", "--config", "codegen.js"),
            ("node_modules/typescript/bin/tsc", "--noEmit"),
            ("build.mjs",),
        ):
            result = subprocess.run([node, *program], cwd=FOLDER, capture_output=True, text=True)
            assert result.returncode == 0, result.stdout + result.stderr

    once_a_run("dashboard", build)
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
        context = await browser.new_context(viewport={"width": 390, "height": 844}, timezone_id=ZONE.key)
        page = await context.new_page()
        page.set_default_timeout(WAIT)
        await page.goto(f"{pages}/?api={service.url}")
        yield page


def operation_of(route: Route) -> str | None:
    """The name of the operation that a request sends."""
    return (route.request.post_data_json or {}).get("operationName")


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
    """What is imported by import() comes later: the log, and the worker that keeps the files."""
    first = [file for file in built.iterdir() if not file.name.startswith(("log-", "worker"))]
    assert {"index.html", "app.js", "app.css"} <= {file.name for file in first}
    assert sum(len(gzip.compress(file.read_bytes())) for file in first) <= FIRST_VIEW


async def test_an_account_is_seen_changed_and_followed(
    page: Page, account: str, connection: "asyncpg.Connection"
) -> None:
    await expect(page.get_by_role("button", name="L#000042")).to_be_visible()
    await expect(page.get_by_role("img", name="Equity curve")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390

    risk = page.get_by_role("region", name="Risk")
    await expect(risk).to_contain_text("of 500")
    await risk.get_by_role("textbox", name="Open positions at most").fill("7")
    await risk.get_by_role("button", name="Change").click()
    await expect(risk).to_contain_text("Changed.", timeout=WAIT)
    assert await connection.fetchval("SELECT max_open_positions FROM risk_settings") == 7
    await expect(risk).to_contain_text("of 7", timeout=WAIT)  # and so the form has the new version, too

    await risk.get_by_role("textbox", name="Risk per trade").fill("2")
    await risk.get_by_role("button", name="Change").click()
    await expect(risk).to_contain_text("riskPerTrade must be between 0 and 1", timeout=WAIT)

    session = await factories.session(connection, account)
    await factories.trade(connection, session, symbol="BTCUSD")
    await expect(page.get_by_role("region", name="Trades")).to_contain_text("BTCUSD", timeout=WAIT)


async def test_a_reading_that_began_before_a_change_does_not_undo_it(
    page: Page, account: str, connection: "asyncpg.Connection"
) -> None:
    reads = 0
    began, release = asyncio.Event(), asyncio.Event()

    async def hold_the_first(route: Route) -> None:
        """Counts the readings of the account, and withholds the answer to the first until it is released."""
        nonlocal reads
        if operation_of(route) != "Account":
            return await route.continue_()
        reads += 1
        if reads > 1:
            return await route.continue_()
        response = await route.fetch()
        began.set()
        await release.wait()
        return await route.fulfill(response=response)

    await page.route("**/graphql", hold_the_first)
    session = await factories.session(connection, account)
    await factories.trade(connection, session, symbol="BTCUSD")
    await asyncio.wait_for(began.wait(), WAIT / 1000)

    risk = page.get_by_role("region", name="Risk")
    await risk.get_by_role("textbox", name="Open positions at most").fill("7")
    await risk.get_by_role("button", name="Change").click()
    await expect(risk).to_contain_text("of 7", timeout=WAIT)
    await page.evaluate(
        "window.shown = ''; new MutationObserver(() => { shown += document.body.innerText })"
        ".observe(document.body, { subtree: true, childList: true, characterData: true })"
    )
    release.set()
    await until(lambda: reads >= 2)
    await expect(page.get_by_role("region", name="Trades")).to_contain_text("BTCUSD", timeout=WAIT)
    assert "of 3" not in await page.evaluate("shown")
    await risk.get_by_role("textbox", name="Risk per trade").fill("2")
    await risk.get_by_role("button", name="Change").click()
    await expect(risk).to_contain_text("riskPerTrade must be between 0 and 1", timeout=WAIT)


async def test_a_slow_answer_never_comes_after_a_newer_one(
    page: Page, account: str, connection: "asyncpg.Connection"
) -> None:
    delays = iter([2.0, 0.0])

    async def delay(route: Route) -> None:
        """Answers the first reading of the account late, and the others at once."""
        if operation_of(route) != "Account":
            return await route.continue_()
        response = await route.fetch()
        await asyncio.sleep(next(delays, 0.0))
        return await route.fulfill(response=response)

    await page.route("**/graphql", delay)
    session = await factories.session(connection, account)
    await factories.trade(connection, session, symbol="FIRST")
    await asyncio.sleep(0.8)  # its reading is under way
    await factories.trade(connection, session, symbol="SECOND")
    trades = page.get_by_role("region", name="Trades")
    await expect(trades).to_contain_text("SECOND", timeout=WAIT)
    await asyncio.sleep(2.5)
    await expect(trades).to_contain_text("SECOND")


async def test_a_reading_that_fails_is_tried_again_and_said(
    page: Page, account: str, connection: "asyncpg.Connection"
) -> None:
    failures = iter([503, None])

    async def fail(route: Route) -> None:
        """Answers one reading of the account by 503, and aborts another."""
        status = next(failures, 200) if operation_of(route) == "Account" else 200
        if status is None:
            await route.abort()
        elif status == 503:
            await route.fulfill(status=503, body="")
        else:
            await route.continue_()

    await page.route("**/graphql", fail)
    session = await factories.session(connection, account)
    await factories.trade(connection, session, symbol="BTCUSD")
    await expect(page.get_by_text("This couldn't be read, and is tried again")).to_be_visible(timeout=WAIT)
    await expect(page.get_by_role("region", name="Trades")).to_contain_text("BTCUSD", timeout=WAIT)
    await expect(page.get_by_text("This couldn't be read, and is tried again")).to_be_hidden(timeout=WAIT)


async def test_a_limit_is_no_word_and_what_is_typed_stays(
    page: Page, connection: "asyncpg.Connection"
) -> None:
    risk = page.get_by_role("region", name="Risk")
    positions = risk.get_by_role("textbox", name="Open positions at most")
    change = risk.get_by_role("button", name="Change")
    await positions.fill("5 positions")
    await change.click()
    assert not await positions.evaluate("field => field.checkValidity()")
    await positions.fill("5")
    await connection.execute("UPDATE risk_settings SET max_daily_loss = 600, updated_at = now()")
    await expect(risk).to_contain_text("of 600", timeout=WAIT)
    await expect(positions).to_have_value("5")
    await change.click()
    await expect(risk).to_contain_text("Somebody has changed the limits meanwhile", timeout=WAIT)
    await change.click()
    await expect(risk).to_contain_text("Changed.", timeout=WAIT)
    changed = await connection.fetchrow("SELECT max_open_positions, max_daily_loss FROM risk_settings")
    assert tuple(changed or ()) == (5, 600)


async def test_the_next_person_in_the_browser_reads_their_own(
    page: Page, pages: str, service: Service, connection: "asyncpg.Connection"
) -> None:
    await service.user("other@example.org")
    other = await connection.fetchval("SELECT id FROM users WHERE email = 'other@example.org'")
    await factories.account(connection, str(other), account_number="L#000077")
    await page.evaluate("dispatchEvent(new Event('visibilitychange'))")  # as when a tab is put away
    after = await page.context.new_page()
    await page.close()
    await after.goto(f"{pages}/?api={service.url}")
    await sign_in(after, "other@example.org")
    await expect(after.get_by_role("button", name="L#000077")).to_be_visible(timeout=WAIT)
    await expect(after.get_by_role("button", name="L#000042")).to_be_hidden()


async def test_a_new_account_is_listed(page: Page, account: str, connection: "asyncpg.Connection") -> None:
    user = await connection.fetchval("SELECT user_id FROM tradelocker_accounts WHERE id = $1", account)
    await factories.account(connection, str(user), account_number="L#000043")
    await expect(page.get_by_role("button", name="L#000043")).to_be_visible(timeout=WAIT)


@dataclass
class Days:
    """A day with a gain, and the one with a loss before it."""

    gain: date
    loss: date


@pytest.fixture
async def days(account: str, connection: "asyncpg.Connection") -> Days:
    """Nothing but a gain of two trades ten days ago, and a smaller loss the day before."""
    await connection.execute("DELETE FROM trades")
    gain = datetime.now(ZONE).date() - timedelta(days=10)
    loss = gain - timedelta(days=1)
    session = await factories.session(connection, account)
    for day, at, pnl in ((gain, time(0, 30), 30), (gain, time(23, 30), 12), (loss, time(12), -20)):
        closed = datetime.combine(day, at, ZONE)  # half past midnight is another day in UTC
        await factories.trade(
            connection,
            session,
            symbol="XAUUSD",
            status="closed",
            pnl=pnl,
            entry_time=closed,
            exit_time=closed,
        )
    return Days(gain, loss)


def said(day: date) -> str:
    """A day as the calendar names it."""
    return f"{day:%a}, {day.day} {day:%b %Y}"


async def test_results_are_seen_by_day_and_by_keyboard(days: Days, page: Page) -> None:
    grid = page.get_by_role("grid", name="Results by day")
    gain = grid.get_by_role("gridcell", name=f"{said(days.gain)}: 42.00 from 2 trades")
    loss = grid.get_by_role("gridcell", name=f"{said(days.loss)}: -20.00 from 1 trade")
    await expect(gain).to_have_attribute("data-sign", "1", timeout=WAIT)
    await expect(loss).to_have_attribute("data-sign", "-1")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390

    await grid.locator("[tabindex='0']").focus()
    await expect(gain).to_be_focused()  # the latest day with a result
    await page.keyboard.press("ArrowUp")
    await expect(loss).to_be_focused()
    await expect(page.get_by_role("region", name="Calendar")).to_contain_text(f"{said(days.loss)}: -20")
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("End")
    today = said(datetime.now(ZONE).date())
    await expect(grid.get_by_role("gridcell", name=f"{today}: nothing closed")).to_be_focused()


async def test_axe_finds_nothing_serious(days: Days, page: Page) -> None:
    node_with(AXE.parents[2])
    await page.evaluate(AXE.read_text("utf-8"))
    found = await page.evaluate("axe.run({ resultTypes: ['violations'] })")
    grave = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    assert [(each["id"], [node["target"] for node in each["nodes"]]) for each in grave] == []


async def test_activity_is_followed_from_what_was_read_and_resumed(
    visitor: Page, account: str, service: Service, connection: "asyncpg.Connection"
) -> None:
    cursors: list[str | None] = []
    received = asyncio.Event()

    def note_sent(frame: bytes | str) -> None:
        message = json.loads(frame)
        if message["type"] == "subscribe" and message["payload"]["variables"].get("ids") == [account]:
            cursors.append(message["payload"]["variables"].get("after"))

    def note_received(frame: bytes | str) -> None:
        message = json.loads(frame)
        if message["type"] == "next" and message["payload"]["data"]["accountActivity"]["kind"] == "TRADE":
            received.set()

    def listen(socket: WebSocket) -> None:
        socket.on("framesent", note_sent)
        socket.on("framereceived", note_received)

    visitor.on("websocket", listen)
    await sign_in(visitor, EMAIL)
    session = await factories.session(connection, account)
    await factories.trade(connection, session, symbol="BEFORE")
    trades = visitor.get_by_role("region", name="Trades")
    await expect(trades).to_contain_text("BEFORE", timeout=WAIT)
    await asyncio.wait_for(received.wait(), WAIT / 1000)
    service.kill()
    await expect(visitor.get_by_role("status")).to_contain_text("offline", timeout=WAIT)
    await factories.trade(connection, session, symbol="MEANWHILE")
    await service.start()
    await expect(trades).to_contain_text("MEANWHILE", timeout=WAIT)
    await until(lambda: len(cursors) >= 2)
    assert None not in cursors
    assert cursors[0] != cursors[-1]  # the latest that came, not the one it began with


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


async def test_after_a_refused_cursor_all_is_read_once_more(
    visitor: Page, account: str, connection: "asyncpg.Connection"
) -> None:
    spoiled = False

    async def spoil(route: Route) -> None:
        """Answers the first cursor as one that the service refuses."""
        nonlocal spoiled
        response = await route.fetch()
        body = await response.json()
        if not spoiled and "activityCursor" in body["data"]:
            body["data"]["activityCursor"] = "garbled"
            spoiled = True
        await route.fulfill(response=response, json=body)

    await visitor.route("**/graphql", spoil)
    await sign_in(visitor, EMAIL)
    trades = visitor.get_by_role("region", name="Trades")
    await expect(trades).to_contain_text("XAUUSD", timeout=WAIT)
    assert spoiled
    session = await factories.session(connection, account)
    await factories.trade(connection, session, symbol="MEANWHILE")
    await expect(trades).to_contain_text("MEANWHILE", timeout=WAIT)
    await factories.trade(connection, session, symbol="AFTERWARDS")
    await expect(trades).to_contain_text("AFTERWARDS", timeout=WAIT)


async def test_a_login_that_ends_leads_back_to_signing_in(page: Page, service: Service) -> None:
    tokens = json.loads(await page.evaluate("sessionStorage.getItem('dashboard:tokens')"))
    logout = f'mutation {{ logout(refreshToken: "{tokens["refreshToken"]}") {{ userErrors {{ code }} }} }}'
    async with http_client() as client:
        await client.post(service.url, json={"query": logout})
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible(timeout=WAIT)
    assert await page.evaluate("localStorage.length + sessionStorage.length") == 0


async def test_an_operator_reads_the_log_as_it_is_written(
    visitor: Page, service: Service, connection: "asyncpg.Connection"
) -> None:
    await service.user("operator@example.org", role=Role.OPERATOR)
    await sign_in(visitor, "operator@example.org")
    log = visitor.get_by_role("region", name="Log")
    for number in range(3):
        await factories.system_log(connection, message=f"line {number}")
    await expect(log).to_contain_text("line 2", timeout=WAIT)
