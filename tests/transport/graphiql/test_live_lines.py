"""Live lines can be read while they arrive, and continue after the connection was interrupted."""

import asyncio

import pytest
from playwright.async_api import Locator, expect

from tests import factories
from tests.transport.graphiql.conftest import Site
from tests.transport.graphiql.test_exploring import follow_logs
from tests.transport.graphiql.visit import Visit

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]


async def write(visit: Visit, site: Site, *messages: str) -> Locator:
    """Lines by another program, each seen before the next. Returns the region with those before the last."""
    for message in messages:
        await factories.system_log(site.connection, message=message)
        await expect(visit.response).to_contain_text(message)
    return visit.page.get_by_role("region", name="Earlier events")


async def test_lines_stand_still_while_somebody_reads(visit: Visit, site: Site) -> None:
    await follow_logs(visit, site)
    earlier = await write(visit, site, "one line", "two lines")
    await earlier.get_by_role("button", name="Pause").click()
    for number in range(3):
        await factories.system_log(site.connection, message=f"unseen {number}")
    await expect(earlier.get_by_role("button", name="Go on (3 new)")).to_be_visible()
    await expect(visit.response).to_contain_text("two lines")
    await expect(earlier).not_to_contain_text("unseen")

    await earlier.get_by_role("button", name="Go on (3 new)").click()
    await expect(visit.response).to_contain_text("unseen 2")
    await expect(earlier).to_contain_text("unseen 1")


async def test_opening_a_line_holds_the_others(visit: Visit, site: Site) -> None:
    await follow_logs(visit, site)
    earlier = await write(visit, site, "one line", "two lines")
    await earlier.get_by_text("one line").first.click()
    await factories.system_log(site.connection, message="unseen")
    await expect(earlier.get_by_role("button", name="Go on (1 new)")).to_be_visible()
    await expect(earlier.locator("pre").first).to_be_visible()


async def test_lines_are_filtered_by_words_and_cleared(visit: Visit, site: Site) -> None:
    await follow_logs(visit, site)
    earlier = await write(visit, site, "bought gold", "sold silver", "bought silver", "the last")
    await earlier.get_by_role("searchbox").fill("SILVER bought")
    await expect(earlier.get_by_role("listitem")).to_have_count(1)
    await earlier.get_by_role("searchbox").fill("")
    await earlier.get_by_role("button", name="Clear").click()
    await expect(earlier).to_have_count(0)
    earlier = await write(visit, site, "after", "clearing")
    await expect(earlier.get_by_role("listitem")).to_have_count(1)


async def test_the_feed_goes_on_after_a_crash_without_a_gap_or_a_repeat(visit: Visit, site: Site) -> None:
    await follow_logs(visit, site)
    await write(visit, site, "before the crash")
    site.process.kill()
    await factories.system_log(site.connection, message="meanwhile")
    await expect(visit.page.get_by_text("nothing will be missed")).to_be_visible()
    await site.restart()
    earlier = await write(visit, site, "after the crash")
    for message in ("before the crash", "meanwhile"):
        await expect(earlier.locator("summary", has_text=message)).to_have_count(1)


async def test_signing_out_ends_the_feed(visit: Visit, site: Site) -> None:
    async with visit.page.expect_websocket() as opened:
        await follow_logs(visit, site)
    socket = await opened.value
    await visit.button("Sign out").click()
    await expect(visit.response).to_contain_text("Signed out.")
    if not socket.is_closed():
        await socket.wait_for_event("close")


async def test_a_token_that_is_about_to_end_is_renewed_on_the_socket(visit: Visit, site: Site) -> None:
    await follow_logs(visit, site)
    before = (await visit.tokens())["accessToken"]
    await visit.page.evaluate(
        """() => { /* a heartbeat like that of a token's last minute */
            const { send } = WebSocket.prototype;
            window.sent = [];
            WebSocket.prototype.send = function (text) {
                window.sent.push(JSON.parse(text));
                if (window.sent.length === 1) {
                    const data = JSON.stringify({ type: "ping", payload: { tokenExpiresAt: "soon" } });
                    this.dispatchEvent(new MessageEvent("message", { data }));
                }
                return send.call(this, text);
            };
        }"""
    )
    pings = "window.sent.filter(({ type }) => type === 'ping').map(({ payload }) => payload.authorization)"
    while not (tokens := await visit.page.evaluate(pings)):
        await asyncio.sleep(0.05)
    [token] = tokens
    assert token == f"Bearer {(await visit.tokens())['accessToken']}" != f"Bearer {before}"
    await write(visit, site, "with the newer token")
