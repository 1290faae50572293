import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from graphql import parse, validate
from pydantic import SecretStr

from graphql_api.app import create_app
from graphql_api.schema import schema
from graphql_api.settings import Settings
from graphql_api.transport import graphiql
from tests.http_client import http_client
from tests.transport.conftest import serving

HTML = {"accept": "text/html"}
STARTERS = sorted(Path(graphiql.__file__).with_name("starters").glob("*.graphql"))


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    with serving(graphiql_html=graphiql.html()) as served:
        async with http_client(base_url=f"http://{served.host}") as client:
            yield client


def parts(html: str) -> list[str]:
    """The files that the page names."""
    return re.findall(r'(?:src|href)="([^"]*)"', html)


def config(html: bytes) -> dict[str, object]:
    """What a browser reads out of the page's data block, which ends at the first `</script`."""
    _, _, after = html.decode().partition('<script id="config" type="application/json">')
    found: dict[str, object] = json.loads(after.partition("</script")[0])
    return found


async def test_the_page_may_load_and_ask_only_its_own_origin(client: httpx.AsyncClient) -> None:
    response = await client.get("/graphql", headers=HTML)
    sources = {
        directive.partition(" ")[0]: directive.partition(" ")[2]
        for directive in response.headers["content-security-policy"].split("; ")
    }
    assert sources["default-src"] == "'none'"
    assert set(sources.values()) == {"'none'", "'self'"}


async def test_the_page_is_asked_for_anew_each_time(client: httpx.AsyncClient) -> None:
    response = await client.get("/graphql", headers=HTML)
    assert response.headers["cache-control"] == "no-store"


async def test_what_the_page_names_is_there_and_kept_for_ever(client: httpx.AsyncClient) -> None:
    page = await client.get("/graphql", headers=HTML)
    answers = [await client.get(part) for part in parts(page.text)]
    assert {
        (answer.status_code, answer.headers["content-type"], answer.headers["cache-control"])
        for answer in answers
    } == {
        (200, type_, "public, max-age=31536000, immutable")
        for type_ in ("image/svg+xml", "text/css; charset=utf-8", "text/javascript; charset=utf-8")
    }


async def test_the_fonts_of_the_style_sheet_are_there(client: httpx.AsyncClient) -> None:
    page = await client.get("/graphql", headers=HTML)
    [style] = [part for part in parts(page.text) if part.endswith(".css")]
    fonts = re.findall(r"url\(\"?\./([^)\"]*)", (await client.get(style)).text)
    assert len(fonts) == 3
    for font in fonts:
        assert (await client.get(f"/graphiql/{font}")).headers["content-type"] == "font/woff2"


async def test_the_licences_are_beside_the_script(client: httpx.AsyncClient) -> None:
    licences = (await client.get("/graphiql/LICENSES.txt")).text
    for name in ("graphiql", "react", "codemirror", "graphql-ws", "@fontsource/roboto"):
        assert re.search(rf"^{name} \d", licences, re.MULTILINE)


@pytest.mark.parametrize("name", ["nothing.js", "..%2f__init__.py", "%2e%2e/page.html"])
async def test_nothing_else_is_served(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"/graphiql/{name}")).status_code == 404


async def test_production_has_no_page() -> None:
    production = Settings(
        profile="production",
        secret_key=SecretStr("k" * 32),
        database_url=SecretStr("postgresql://localhost/never-asked"),
        demo_logins={"trader@example.com": "demo-password"},
    )
    transport = httpx.ASGITransport(create_app(production))
    async with httpx.AsyncClient(transport=transport, base_url="http://production") as client:
        page = await client.get("/graphql", headers=HTML)
        licences = await client.get("/graphiql/LICENSES.txt")
    assert (page.status_code, page.headers["content-type"]) == (405, "application/json; charset=utf-8")
    assert licences.status_code == 404


def test_logins_are_offered_only_when_told() -> None:
    offered = config(graphiql.html({"ada@example.com": "a secret"}))["logins"]
    assert offered == [{"email": "ada@example.com", "password": "a secret"}]
    assert config(graphiql.html())["logins"] == []


def test_nothing_in_the_configuration_can_end_its_element() -> None:
    password = "</script><script>alert(1)</script><!--"
    logins = config(graphiql.html({"a@example.com": password}))["logins"]
    assert logins == [{"email": "a@example.com", "password": password}]


def test_the_first_visit_opens_every_starter() -> None:
    tabs = config(graphiql.html())["tabs"]
    assert isinstance(tabs, list)
    assert {tab["query"] for tab in tabs} == {path.read_text().strip() for path in STARTERS}
    assert len(tabs) == len(STARTERS)


@pytest.mark.parametrize("path", STARTERS, ids=lambda path: path.stem)
def test_a_starter_is_valid(path: Path) -> None:
    assert validate(schema._schema, parse(path.read_text())) == []
