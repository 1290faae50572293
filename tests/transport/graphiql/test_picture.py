"""The README's picture shows the page as it is. UPDATE_PICTURES=1 takes it again."""

import os
import struct
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests import factories
from tests.transport.graphiql.conftest import Open, Site
from tests.transport.graphiql.test_exploring import follow_logs

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

ROOT = Path(__file__).parents[3]
PICTURE = ROOT / "docs" / "graphiql.png"
SIZE = (1280, 760)
LINES = (
    ("info", "bot", "session started: London breakout, EURUSD"),
    ("info", "bot", "bought 0.40 EURUSD at 1.08421, stop 1.08190"),
    ("warning", "risk", "daily loss at 71 % of its limit"),
    ("info", "bot", "closed 0.40 EURUSD at 1.08655: +93.60"),
    ("error", "broker", "order 18233 was rejected: market closed"),
    ("info", "bot", "bought 0.15 XAUUSD at 2391.40"),
)


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height, from the head of the file."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height


async def test_the_picture_shows_the_live_feed(visit_with: Open, site: Site) -> None:
    visit = await visit_with(width=SIZE[0], height=SIZE[1])
    await follow_logs(visit, site)
    for level, component, message in LINES:
        await factories.system_log(site.connection, level=level, component=component, message=message)
        await expect(visit.response).to_contain_text(message)
    earlier = visit.page.get_by_role("region", name="Earlier events")
    await expect(earlier.locator("summary").first).to_contain_text(LINES[-2][2])
    taken = await visit.page.screenshot()
    if os.environ.get("UPDATE_PICTURES") == "1":
        PICTURE.write_bytes(taken)
    assert size_of(taken) == SIZE
    assert size_of(PICTURE.read_bytes()) == SIZE
    assert f"]({PICTURE.relative_to(ROOT)})" in (ROOT / "README.md").read_text("utf-8")
