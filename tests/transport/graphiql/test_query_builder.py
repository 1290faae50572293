"""Operations can be composed by mouse, by keyboard and on a phone, and run as they are."""

import asyncio

import pytest
from graphql import parse, print_ast
from playwright.async_api import Locator, expect

from tests.transport.graphiql.conftest import Open, Site
from tests.transport.graphiql.test_accessibility import faults
from tests.transport.graphiql.visit import OPERATOR, TRADER, Visit

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]


async def open_builder(visit: Visit, text: str = "") -> None:
    """Open the builder beside a query editor that says `text`."""
    await visit.write("Query", text or " ")
    await visit.button("Show Query Builder").click()
    await expect(visit.panel.get_by_role("heading", name="Query Builder")).to_be_visible()


async def written(visit: Visit) -> str:
    """What the query editor says."""
    text: str = await visit.page.evaluate(
        "document.querySelector('.graphiql-query-editor .CodeMirror').CodeMirror.getValue()"
    )
    return text


async def expect_written(visit: Visit, document: str) -> None:
    """Wait until the query editor says `document`, however it is laid out."""
    for _ in range(100):
        said = await written(visit)
        if said.strip() and laid_out(said) == laid_out(document):
            return
        await asyncio.sleep(0.05)
    assert said == document


def laid_out(document: str) -> str:
    return print_ast(parse(document))


def fields(visit: Visit, of: str) -> Locator:
    """The fields to choose from, of a field that is chosen."""
    return visit.panel.get_by_role("list", name=f"Fields of {of}", exact=True)


def choice(place: Locator, name: str) -> Locator:
    return place.get_by_role("checkbox", name=name, exact=True).first


async def test_a_query_is_clicked_together_and_runs(visit: Visit) -> None:
    await visit.sign_in(TRADER)
    await open_builder(visit)
    await choice(fields(visit, "query"), "trades").check()
    await expect_written(visit, "{ trades { nodes { id } } }")
    trades = fields(visit, "trades")
    await choice(trades, "totalCount").check()
    await choice(fields(visit, "nodes"), "symbol").check()
    await choice(fields(visit, "nodes"), "id").uncheck()
    await visit.panel.get_by_text("Arguments of trades", exact=True).click()
    await visit.panel.get_by_label("first", exact=True).fill("5")
    await choice(visit.panel, "filter").check()
    await choice(visit.panel, "CLOSED").check()
    await expect_written(
        visit, "{ trades(first: 5, filter: {status: [CLOSED]}) { nodes { symbol } totalCount } }"
    )
    await visit.run()
    await expect(visit.response).to_contain_text("XAUUSD")
    assert visit.complaints == []


async def test_the_last_field_of_a_selection_leaves_a_valid_operation(visit: Visit) -> None:
    await open_builder(visit, "{ viewer { roles } }")
    await choice(fields(visit, "viewer"), "roles").uncheck()
    await expect_written(visit, "{ viewer { __typename } }")
    await choice(fields(visit, "viewer"), "scopes").check()
    await expect_written(visit, "{ viewer { scopes } }")
    await choice(fields(visit, "query"), "viewer").uncheck()
    assert not (await written(visit)).strip()


async def test_what_cannot_be_clicked_is_kept(visit: Visit) -> None:
    fragment = "fragment Name on User { email }"
    await open_builder(
        visit, f"# Mine.\nquery Mine {{ v: viewer {{ user {{ ...Name createdAt }} }} }}\n\n{fragment}"
    )
    await choice(fields(visit, "user"), "isActive").check()
    said = await written(visit)
    assert said.startswith("# Mine.\nquery Mine {")
    assert said.endswith(fragment)
    assert "v: viewer" in said
    assert "...Name" in said


async def test_a_variable_is_declared_with_the_type_of_its_place(visit: Visit) -> None:
    await open_builder(visit, "query One { viewer { roles } }")
    await choice(fields(visit, "query"), "account").check()
    await expect_written(visit, 'query One { viewer { roles } account(id: "") { id } }')
    await visit.panel.get_by_label("id", exact=True).first.fill("$account")
    await expect_written(visit, "query One($account: ID!) { viewer { roles } account(id: $account) { id } }")
    await choice(fields(visit, "query"), "account").uncheck()
    await expect_written(visit, "query One { viewer { roles } }")


async def test_a_value_that_cannot_be_is_marked_and_not_written(visit: Visit) -> None:
    await open_builder(visit, "{ trades(first: 5) { totalCount } }")
    first = visit.panel.get_by_label("first", exact=True)
    await first.fill("five")
    await expect(first).to_have_attribute("aria-invalid", "true")
    await expect_written(visit, "{ trades(first: 5) { totalCount } }")


async def test_a_mutation_and_a_subscription_are_begun_beside_a_query(visit: Visit, site: Site) -> None:
    await visit.sign_in(OPERATOR)
    await open_builder(visit, "query Who { viewer { roles } }")
    operations = visit.panel.get_by_role("combobox", name="Operation")
    await operations.select_option(label="New subscription")
    await choice(fields(visit, "subscription"), "systemLogAdded").check()
    await expect_written(
        visit, "query Who { viewer { roles } } subscription New2 { systemLogAdded { cursor } }"
    )
    await operations.select_option(label="New mutation")
    await choice(fields(visit, "mutation"), "updateRiskSettings").check()
    assert "mutation New3" in await written(visit)


async def test_a_type_of_an_interface_is_chosen(visit: Visit) -> None:
    await open_builder(visit, '{ node(id: "1") { id } }')
    await choice(fields(visit, "node"), "… on Trade").check()
    await expect_written(visit, '{ node(id: "1") { id ... on Trade { id } } }')


async def test_text_that_is_half_written_says_so(visit: Visit) -> None:
    await open_builder(visit, "{ viewer {")
    await expect(visit.panel.get_by_role("status")).to_contain_text("can't be read")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_the_builder_has_no_serious_fault(visit_with: Open, dark: bool) -> None:
    visit = await visit_with(dark=dark)
    await open_builder(
        visit, '{ trades(first: 5, filter: {status: [CLOSED]}) { nodes { id } } node(id: "1") { id } }'
    )
    await choice(fields(visit, "node"), "… on Trade").check()
    await visit.panel.get_by_label("first", exact=True).first.fill("five")
    assert await faults(visit) == []


async def test_a_query_is_built_by_keyboard(visit: Visit) -> None:
    await open_builder(visit)
    await choice(fields(visit, "query"), "viewer").focus()
    await visit.page.keyboard.press("Space")
    await visit.page.keyboard.press("Tab")
    await visit.page.keyboard.press("Space")
    await expect_written(visit, "{ viewer { roles user { id } } }")


async def test_on_a_phone_the_builder_covers_the_editors_and_fits(visit_with: Open) -> None:
    visit = await visit_with(width=390, height=844)
    await visit.sign_in(TRADER)
    await visit.button("Show Query Builder").click()
    await choice(fields(visit, "viewer"), "roles").check()
    wide = await visit.panel.evaluate("panel => panel.scrollWidth - panel.clientWidth")
    assert wide <= 0
    await visit.button("Hide Query Builder").click()
    assert "roles" in await written(visit)
    await visit.run()
    await expect(visit.response).to_contain_text('"data"')
