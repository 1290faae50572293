"""Whatever the page shows, and however many events come, its parts stay inside the window."""

from typing import Any

import pytest
from playwright.async_api import expect

from tests import factories
from tests.transport.graphiql.conftest import Site
from tests.transport.graphiql.test_exploring import follow_logs
from tests.transport.graphiql.visit import OPERATOR, Visit

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

LINES = 3000
SIZES = [(800, 600), (1024, 768), (1280, 720), (1440, 900), (1920, 1080), (2560, 1440), (375, 667)]

# The parts of the page, with the least height in pixels that each needs to be of use.
PARTS = {
    ".graphiql-sidebar": 0,
    ".graphiql-sessions": 0,
    "#graphiql-session": 0,
    ".graphiql-editors": 0,
    ".graphiql-query-editor": 0,
    ".graphiql-response": 100,
    ".result-window": 60,
    ".graphiql-footer": 0,
}
MEASURE = """parts => Object.fromEntries(Object.keys(parts).map(part => {
    const { left, top, right, bottom } = document.querySelector(part).getBoundingClientRect();
    return [part, [left, top, right, bottom]];
}))"""


async def hold_inside(visit: Visit) -> None:
    """At every size of window, each part lies inside of it."""
    outside: dict[str, Any] = {}
    for width, height in SIZES:
        await visit.page.set_viewport_size({"width": width, "height": height})
        boxes = await visit.page.evaluate(MEASURE, PARTS)
        for part, (left, top, right, bottom) in boxes.items():
            inside = left >= 0 and top >= 0 and right <= width and bottom <= height
            if not inside or bottom - top < PARTS[part]:
                outside[f"{part} at {width}x{height}"] = [left, top, right, bottom]
    assert outside == {}


async def test_thousands_of_live_lines(visit: Visit, site: Site) -> None:
    await follow_logs(visit, site)
    await site.connection.execute(
        "INSERT INTO system_logs (timestamp, level, component, message, details)"
        " SELECT now(), 'info', 'bot', 'line ' || n || repeat(' and so on', 30),"
        "  jsonb_build_object('a', n, 'b', jsonb_build_object('c', repeat('x', 300)))"
        " FROM generate_series(1, $1) n",
        LINES,
    )
    await factories.system_log(site.connection, message="the last line")
    await expect(visit.response).to_contain_text("the last line")
    earlier = visit.page.get_by_role("region", name="Earlier events")
    await expect(earlier.get_by_role("listitem")).to_have_count(99)
    number = int((await earlier.get_by_role("heading").inner_text()).split()[1].rstrip(","))
    assert number > LINES
    await hold_inside(visit)
    # What doesn't fit can be scrolled to: the oldest event that is kept is the last.
    await earlier.get_by_role("listitem").last.scroll_into_view_if_needed()
    await expect(earlier.get_by_role("listitem").last).to_be_in_viewport()
    await hold_inside(visit)


async def test_a_long_document_and_a_long_response(visit: Visit, site: Site) -> None:
    for number in range(100):
        await factories.system_log(site.connection, message=f"{number} " + "and so on " * 50)
    await visit.sign_in(OPERATOR)
    await visit.write("Query", "{ systemLogs(first: 100) { nodes {\n" + "id level message\n" * 200 + "} } }")
    await visit.run()
    await expect(visit.response).to_contain_text("message")
    await visit.button("Show Documentation Explorer").click()
    await hold_inside(visit)
