"""Origins are compared as origins: by scheme, host and port, however they are written."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from websockets.exceptions import InvalidStatus

from graphql_api.postgres.address import Address
from graphql_api.settings import Settings
from graphql_api.transport.origins import Origins, is_own
from tests.app import served as served_app
from tests.http_client import http_client
from tests.transport.conftest import Serve
from tests.transport.raw import HANDSHAKE, dialled, status
from tests.transport.sockets import connected, opened


@pytest.mark.parametrize(
    ("written", "normalized"),
    [
        ("https://app.example", "https://app.example"),
        ("https://app.example/", "https://app.example"),
        ("HTTPS://App.Example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80/", "http://app.example"),
        ("http://app.example:443", "http://app.example:443"),
        ("https://app.example:8443", "https://app.example:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://[2001:DB8::1]:443", "https://[2001:db8::1]"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("*", "*"),
    ],
)
def test_an_allowed_origin_is_known_however_it_is_written(written: str, normalized: str) -> None:
    assert Settings(allowed_origins=(written,)).allowed_origins == (normalized,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "app.example",
        "app.example:8080",
        "//app.example",
        "https://",
        "https://app.example/graphql",
        "https://app.example?a",
        "https://user@app.example",
        "https://*.app.example",
        "https://b\u00fccher.example",
        "https://app.example:port",
        "https://app.example:70000",
        "https://[::1",
        "null",
    ],
)
def test_an_allowed_origin_that_is_none_is_refused_at_start(text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(allowed_origins=(text,))
    (error,) = refused.value.errors()
    assert error["loc"] == ("allowed_origins", 0)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://app.example", "app.example:443"),
        ("https://app.example:443", "app.example"),
        ("http://app.example", "app.example:80"),
        ("https://App.Example", "app.example"),
        ("https://app.example:8443", "app.example:8443"),
        ("http://[::1]:8000", "[::1]:8000"),
    ],
)
def test_a_page_is_our_own_whose_origin_is_where_it_calls(origin: str, host: str) -> None:
    assert is_own(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://app.example", "app.example:80"),
        ("https://app.example:8443", "app.example"),
        ("https://evil.example", "app.example"),
        ("https://app.example.evil.example", "app.example"),
        ("https://app.example@evil.example", "evil.example"),
        ("https://evil.example/app.example", "app.example"),
        ("null", "null"),
        ("", ""),
        ("https://", ""),
    ],
)
def test_another_page_is_not_our_own(origin: str, host: str) -> None:
    assert not is_own(origin, host)


def test_an_origin_that_is_none_is_on_no_list() -> None:
    assert "null" not in Origins(["https://app.example"], local=True)
    assert "null" in Origins(["*"])


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:5173",
        "https://localhost",
        "http://LOCALHOST:3000",
        "http://app.localhost:3000",
        "http://127.0.0.1:8080",
        "http://127.1.2.3",
        "http://[::1]:5173",
        "capacitor://localhost",
    ],
)
def test_development_allows_what_this_machine_serves_to_itself(origin: str) -> None:
    assert origin in Origins(local=True)
    assert origin not in Origins()


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost.evil.example",
        "http://evil-localhost:3000",
        "http://10.0.0.2:3000",
        "http://0.0.0.0:3000",
        "https://localhost@evil.example",
        "null",
        "",
    ],
)
def test_nothing_else_is_of_this_machine(origin: str) -> None:
    assert origin not in Origins(local=True)


@pytest.mark.parametrize("profile", ["development", "production"])
async def test_pages_of_localhost_may_call_in_development_only(
    address: Address, tmp_path: Path, profile: str
) -> None:
    headers = {"origin": "http://localhost:5173", "access-control-request-method": "POST"}
    async with served_app(address, tmp_path, profile=profile) as app:
        asked = await app.client.options("/graphql", headers=headers)
    allowed = asked.headers.get("access-control-allow-origin")
    assert allowed == ("http://localhost:5173" if profile == "development" else None)


@pytest.mark.parametrize(
    "text",
    [
        "https://app.example,https://admin.example",
        " https://APP.example/ , https://admin.example:443,",
        '["https://app.example", "https://admin.example"]',
    ],
)
def test_the_environment_lists_origins_between_commas_or_in_json(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("GRAPHQL_API_ALLOWED_ORIGINS", text)
    assert Settings().allowed_origins == ("https://app.example", "https://admin.example")


@pytest.mark.parametrize("text", ["", " ", "[]", ","])
def test_an_empty_list_allows_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("GRAPHQL_API_ALLOWED_ORIGINS", text)
    assert Settings().allowed_origins == ()


async def test_sockets_and_requests_know_an_allowed_origin_alike(serve: Serve) -> None:
    served = serve(origins=Origins(Settings(allowed_origins=("HTTPS://app.example:443/",)).allowed_origins))
    async with http_client() as client:
        for origin in ("https://app.example", "https://APP.example:443"):
            response = await client.post(served.url, json={"query": "{ hello }"}, headers={"origin": origin})
            assert response.headers["access-control-allow-origin"] == origin
            async with connected(served, origin=origin):
                pass
    with pytest.raises(InvalidStatus) as refused:
        async with opened(served, origin="http://app.example"):
            pass
    assert refused.value.response.status_code == 403


async def test_a_page_of_our_own_may_connect_though_host_names_the_default_port(serve: Serve) -> None:
    async with dialled(serve()) as (reader, writer):
        handshake = HANDSHAKE.replace(b"Host: a", b"Host: app.example:443")
        writer.write(handshake + b"Origin: https://app.example\r\n\r\n")
        assert await status(reader) == 101
