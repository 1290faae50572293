"""Origins are compared as origins: by scheme, host and port, however they are written."""

import httpx
import pytest
from pydantic import ValidationError
from websockets.exceptions import InvalidStatus

from graphql_api.settings import Settings
from graphql_api.transport.origins import is_listed, is_own
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
        "https://a,https://b",
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
    assert not is_listed("null", ["https://app.example"])
    assert is_listed("null", ["*"])


async def test_sockets_and_requests_know_an_allowed_origin_alike(serve: Serve) -> None:
    served = serve(allowed_origins=Settings(allowed_origins=("HTTPS://app.example:443/",)).allowed_origins)
    async with httpx.AsyncClient() as client:
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
