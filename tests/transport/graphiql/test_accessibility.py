"""axe-core finds nothing serious in any view, and every action can be done by keyboard."""

from typing import Any

import pytest
from playwright.async_api import expect

from tests.node import node_with
from tests.transport.graphiql.conftest import Open, Site
from tests.transport.graphiql.test_exploring import follow_logs
from tests.transport.graphiql.test_live_lines import write
from tests.transport.graphiql.visit import OPERATOR, TRADER, Visit
from tests.transport.scripts import FOLDER

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

AXE = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
GRAVE = ("serious", "critical")


async def faults(visit: Visit) -> list[str]:
    """What axe-core finds in the page as it is: rules and the elements that break them."""
    node_with(FOLDER)
    await visit.page.evaluate(AXE.read_text("utf-8"))
    found: dict[str, Any] = await visit.page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{each['id']} {node['target']}"
        for each in found["violations"]
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_no_view_has_a_serious_fault(visit_with: Open, site: Site, dark: bool) -> None:
    visit = await visit_with(dark=dark)
    seen = {"first visit": await faults(visit)}
    await follow_logs(visit, site)
    await write(visit, site, "one line", "two lines")
    seen["live lines"] = await faults(visit)
    await visit.choose_tab("Users")
    await visit.run()
    await expect(visit.response).to_contain_text(OPERATOR)
    seen["response"] = await faults(visit)
    await visit.button("Show Documentation Explorer").click()
    seen["documentation"] = await faults(visit)
    await visit.button("Show History").click()
    seen["history"] = await faults(visit)
    await visit.button("Open settings dialog").click()
    await expect(visit.page.get_by_role("dialog")).to_be_visible()
    seen["settings"] = await faults(visit)
    assert {view: found for view, found in seen.items() if found} == {}


async def focused(visit: Visit) -> str:
    """What has the keyboard's focus: its name, or where it is."""
    name = await visit.page.evaluate(
        """() => {
            const element = document.activeElement;
            return element.getAttribute('aria-label') ?? element.textContent ?? element.tagName;
        }"""
    )
    return str(name)


async def test_a_query_is_run_by_keyboard_and_no_editor_keeps_the_focus(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    await visit.write("Query", "{ viewer { roles } }")
    await visit.page.keyboard.press("Control+Enter")
    await expect(visit.response).to_contain_text('"roles"')
    await visit.page.keyboard.press("Escape")
    editor = await focused(visit)
    await visit.page.keyboard.press("Tab")
    following = [await focused(visit)]
    assert following[0] != editor
    for _ in range(60):
        await visit.page.keyboard.press("Tab")
        following.append(await focused(visit))
    assert {"Execute query (Ctrl-Enter)", "Show Documentation Explorer", "Show History"} <= set(following)
    assert following.count(editor) <= 3  # the round begins again, and stays nowhere


async def test_the_documentation_is_searched_by_the_keys_that_it_names(visit: Visit) -> None:
    await visit.button("Show Documentation Explorer").click()
    await expect(visit.panel).to_contain_text("Query")
    await visit.page.keyboard.press("Control+k")
    await expect(visit.page.get_by_role("combobox").and_(visit.page.locator("input"))).to_be_focused()
    await visit.page.keyboard.type("riskStatus")
    await expect(visit.page.get_by_role("option").first).to_contain_text("RiskStatus")
