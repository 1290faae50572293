"""The documentation as a site: it builds without a warning, and loads nothing from other hosts."""

import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from graphql_api.relational.errors import ErrorCode
from tests.browser import chromium
from tests.once import once_a_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site() -> Path:
    """The site, built strictly: a link that leads nowhere, and a page that the menu lacks, would fail."""
    return once_a_run("site", build)


def build(folder: Path) -> None:
    # Not --quiet: it hides warnings from --strict too.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def test_it_is_read_and_searched_without_any_other_host(address: str) -> None:
    asked: set[str] = set()

    async def only_here(route: Route) -> None:
        asked.add(route.request.url.split("/")[2])
        await (route.continue_() if route.request.url.startswith(address) else route.abort())

    async with chromium() as browser:
        page = await browser.new_page(viewport={"width": 390, "height": 800})
        await page.route("**/*", only_here)
        await page.goto(f"{address}/index.html")
        await expect(page.locator("article h1")).to_contain_text("graphql-api")
        await search(page, "idempotency")
        await page.locator(".md-search-result__item a").first.click()
        await expect(page.locator("article")).to_contain_text("Idempotency")
        await page.goto(f"{address}/schema.html")
        await expect(page.locator("#trade")).to_be_visible()
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390
    assert asked == {address.removeprefix("http://")}


async def search(page: Page, text: str) -> None:
    await page.locator("label[for=__search]").first.click()
    await page.locator(".md-search__input").press_sequentially(text)
    await expect(page.locator(".md-search-result__item").first).to_be_visible(timeout=60_000)


def test_every_type_and_root_field_has_its_place_in_the_reference(site: Path) -> None:
    page = (site / "schema.html").read_text("utf-8")
    schema = (ROOT / "schema.graphql").read_text("utf-8")
    for name in re.findall(r"^(?:type|input|enum|interface|scalar) (\w+)", schema, re.MULTILINE):
        if name not in ("Query", "Mutation", "Subscription"):
            assert f'id="{name.lower()}"' in page, name
    for name in ("viewer", "updaterisksettings", "systemlogadded"):
        assert f'id="{name}"' in page


def test_every_code_of_a_refusal_is_explained() -> None:
    page = (ROOT / "docs" / "errors.md").read_text("utf-8")
    for code in ErrorCode:
        assert f"| `{code.value}` |" in page
