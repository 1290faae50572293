import re

import pytest
from graphql import build_schema
from playwright.async_api import expect

from graphql_api.schema import schema_text
from tests import factories
from tests.transport.graphiql.conftest import Open, Site
from tests.transport.graphiql.visit import OPERATOR, PASSWORD, TRADER, Visit

SCHEMA = build_schema(schema_text())
assert SCHEMA.query_type is not None
DESCRIPTION = SCHEMA.query_type.fields["viewer"].description or ""

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]


async def follow_logs(visit: Visit, site: Site) -> None:
    """Subscribe as an operator, and wait until what is written from now on comes live."""
    await factories.system_log(site.connection, message="already there")
    await visit.sign_in(OPERATOR)
    await visit.choose_tab("Logs")
    await visit.run()
    await expect(visit.response).to_contain_text('"replayed": true')


async def test_a_tour_asks_no_other_host_and_raises_no_complaint(visit: Visit, site: Site) -> None:
    await follow_logs(visit, site)
    await visit.choose_tab("Users")
    await visit.run()
    await expect(visit.response).to_contain_text(OPERATOR)
    await visit.button("Show Query Builder").click()
    await visit.write("Query", "{ viewer { roles } }")
    await visit.page.locator(".graphiql-query-editor .cm-property", has_text="viewer").hover()
    await expect(visit.page.locator(".CodeMirror-info")).to_contain_text(DESCRIPTION)
    await visit.button("Show Documentation Explorer").click()
    await visit.button("Show History").click()
    await visit.button("Open settings dialog").click()
    await visit.page.keyboard.press("Escape")
    await visit.write("Query", "{ ")
    await visit.page.keyboard.press("Control+Space")
    await expect(visit.page.locator(".CodeMirror-hints")).to_contain_text("viewer")
    assert visit.hosts == {site.url.split("/")[2]}
    assert visit.complaints == []


async def tabs(visit: Visit) -> list[str]:
    return await visit.page.locator(".graphiql-tab-button").all_text_contents()


FOR_TRADERS = ["Desk", "Statistics", "Paging", "Risk", "Activity"]
FOR_OPERATORS = ["Paging", "Logs", "Warnings", "Users"]


async def test_a_first_visit_opens_the_starters_in_tabs(visit: Visit) -> None:
    assert set(await tabs(visit)) == {*FOR_TRADERS, *FOR_OPERATORS}


async def test_the_starters_fit_who_signed_in(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    await expect(visit.page.locator(".graphiql-tab-button")).to_have_text(FOR_TRADERS)
    await visit.choose_tab("Risk")
    await visit.write("Query", "query Mine { viewer { roles } }")
    await visit.button("Sign out").click()
    await visit.sign_in(OPERATOR)
    await expect(visit.page.locator(".graphiql-tab-button")).to_have_text(
        ["Paging", "Mine", "Logs", "Warnings", "Users"]  # what somebody wrote is nobody's starter
    )
    await visit.page.wait_for_function(
        """() => {
            const stored = localStorage['graphiql:tabState'];
            return stored.includes('query Users') && !stored.includes('query Desk');
        }"""
    )
    await visit.button("Sign out").click()
    await visit.open()  # the tabs, and those put away, outlive the visit
    await visit.sign_in(TRADER)
    await expect(visit.page.locator(".graphiql-tab-button")).to_have_text(
        ["Paging", "Mine", "Desk", "Statistics", "Activity"]
    )


@pytest.mark.parametrize(
    ("email", "tab"),
    [
        *((TRADER, tab) for tab in ("Desk", "Statistics", "Paging")),
        *((OPERATOR, tab) for tab in ("Paging", "Warnings", "Users")),
    ],
)
async def test_a_starter_runs_as_it_stands(visit: Visit, email: str, tab: str) -> None:
    await visit.sign_in(email)
    await visit.choose_tab(tab)
    await visit.run()
    await expect(visit.response).to_contain_text('"data"')
    await expect(visit.response).not_to_contain_text('"errors"')


async def test_a_query_shows_its_data(visit: Visit) -> None:
    await visit.write("Query", "{ __schema { queryType { name } } }")
    await visit.run()
    await expect(visit.response).to_contain_text('"name": "Query"')


async def test_an_answer_says_what_it_took(visit: Visit) -> None:
    took = visit.page.locator(".answered")
    await visit.sign_in(TRADER)
    await visit.run()
    await expect(took).to_have_text(re.compile(r"^\d+ ms, [\d.]+ k?B$"))
    await visit.choose_tab("Statistics")  # which hasn't been run
    await expect(took).to_have_count(0)


async def test_the_docs_explorer_shows_descriptions(visit: Visit) -> None:
    await visit.button("Show Documentation Explorer").click()
    await visit.panel.get_by_text("Mutation", exact=True).click()
    await visit.panel.get_by_text("login", exact=True).click()
    await expect(visit.panel).to_contain_text("Signs in with e-mail and password.")


async def test_a_subscription_shows_what_another_program_writes(visit: Visit, site: Site) -> None:
    await follow_logs(visit, site)
    for number in range(1, 4):
        await factories.system_log(site.connection, message=f"line {number}")
        await expect(visit.response).to_contain_text(f"line {number}")


async def test_the_events_before_the_last_stay_in_sight(visit: Visit, site: Site) -> None:
    await follow_logs(visit, site)
    for message in ("the first", "the second"):
        await factories.system_log(site.connection, message=message)
        await expect(visit.response).to_contain_text(message)
    await expect(visit.page.get_by_role("region", name="Earlier events")).to_contain_text("the first")


async def test_a_trader_follows_what_happens_in_their_accounts(visit: Visit, site: Site) -> None:
    await visit.sign_in(TRADER)
    await visit.choose_tab("Activity")
    await visit.run()
    await expect(visit.response).to_contain_text("UP_TO_DATE")
    await factories.session(site.connection, site.account_id)
    await expect(visit.response).to_contain_text('"kind": "SESSION"')


async def test_a_subscription_that_is_refused_says_why(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    await visit.write("Query", "subscription { systemLogAdded { cursor } }")
    await visit.run()
    await expect(visit.response).to_contain_text("FORBIDDEN")


async def test_stopping_a_subscription_closes_its_socket(visit: Visit, site: Site) -> None:
    async with visit.page.expect_websocket() as opened:
        await follow_logs(visit, site)
    subscription = await opened.value
    await visit.button("Stop query (Ctrl-Enter)").click()
    if not subscription.is_closed():
        await subscription.wait_for_event("close")


async def test_a_starter_that_needs_an_account_has_the_first_of_who_signed_in(
    visit: Visit, site: Site
) -> None:
    await visit.choose_tab("Risk")
    await visit.sign_in(TRADER)
    await visit.run()
    await expect(visit.response).to_contain_text('"riskPerTrade": "0.0150"')

    other = await factories.user(site.connection, email="other@example.com")
    await site.connection.execute(
        "UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE email = $1) WHERE id = $2",
        TRADER,
        other,
    )
    theirs = await factories.account(site.connection, other, account_number="L#000043")
    await visit.button("Sign out").click()
    await visit.panel.get_by_label("E-mail").fill("other@example.com")
    await visit.panel.get_by_label("Password").fill(PASSWORD)
    await visit.panel.get_by_role("button", name="Sign in", exact=True).click()
    await expect(visit.who).to_have_text("other@example.com")
    await visit.run()
    await expect(visit.page.get_by_role("region", name="Variables")).to_contain_text(theirs)
    while not await site.connection.fetchval(
        "SELECT EXISTS (SELECT FROM risk_settings WHERE account_id = $1)", theirs
    ):
        await visit.page.wait_for_timeout(50)


async def test_an_account_of_the_panel_is_filled_in_and_its_limits_change(visit: Visit, site: Site) -> None:
    await visit.sign_in(TRADER)
    await visit.choose_tab("Risk")
    await visit.button("L#000042").click()
    await visit.run()
    await expect(visit.response).to_contain_text('"riskPerTrade": "0.0150"')
    written = await site.connection.fetchval(
        "SELECT risk_per_trade FROM risk_settings WHERE account_id = $1", site.account_id
    )
    assert str(written) == "0.0150"


@pytest.mark.parametrize(("dark", "lightness"), [(False, range(200, 256)), (True, range(80))])
async def test_the_page_is_light_or_dark_as_the_browser_is(
    visit_with: Open, dark: bool, lightness: range
) -> None:
    visit = await visit_with(dark=dark)
    colour = await visit.page.locator(".graphiql-container").evaluate(
        "element => getComputedStyle(element).backgroundColor"
    )
    assert all(int(part) in lightness for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


@pytest.mark.parametrize("width", [390, 768])
async def test_on_phones_and_tablets_everything_is_within_reach(visit_with: Open, width: int) -> None:
    """One part is below the other, each as wide as the page: beside each other none could be read."""
    visit = await visit_with(width=width, height=844)
    await visit.sign_in(TRADER)
    await visit.run()
    await expect(visit.response).to_contain_text("accountNumber")
    for part in (".graphiql-query-editor", ".graphiql-response", ".graphiql-sidebar", ".who"):
        await expect(visit.page.locator(part)).to_be_in_viewport(ratio=1)
    for part in (".graphiql-query-editor", ".graphiql-response"):
        box = await visit.page.locator(part).bounding_box()
        assert box is not None
        assert box["width"] > width - 30
