from typing import Any

import httpx
import pytest
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from graphql_api.transport.application import Application
from graphql_api.transport.origins import Origins
from tests.http_client import http_client
from tests.transport.conftest import Serve
from tests.transport.http import code


class Seen:
    """Middleware that says it was here."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def say(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-seen", b"1"))
            await send(message)

        await self.app(scope, receive, say)


def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def broken(_: Request) -> PlainTextResponse:
    raise ValueError("the password is hunter2")


@pytest.fixture
async def client() -> Any:
    routes = [Route("/graphql", hello), Route("/other", hello), Route("/broken", broken)]
    application = Application(routes=routes, middleware=[Middleware(Seen)], openapi_url=None)
    transport = httpx.ASGITransport(application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        yield client


async def test_graphql_is_reached_straight(client: httpx.AsyncClient) -> None:
    response = await client.get("/graphql")
    assert (response.text, "x-seen" in response.headers) == ("hello", False)


async def test_the_rest_takes_the_usual_way(client: httpx.AsyncClient) -> None:
    response = await client.get("/other")
    assert (response.text, "x-seen" in response.headers) == ("hello", True)


async def test_what_no_route_answers_is_an_error_in_graphqls_format(client: httpx.AsyncClient) -> None:
    assert (await client.get("/graphql/")).status_code == 307
    for method, path, status, expected in [
        ("POST", "/nowhere", 404, "NOT_FOUND"),
        ("POST", "/other", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/broken", 500, "INTERNAL_SERVER_ERROR"),
    ]:
        response = await client.request(method, path)
        assert (response.status_code, code(response)) == (status, expected)
    assert "hunter2" not in response.text


PREFLIGHT = {
    "origin": "https://app.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


async def test_an_allowed_origin_may_call(serve: Serve) -> None:
    served = serve(origins=Origins(["https://app.example"]))
    async with http_client() as client:
        asked = await client.options(served.url, headers=PREFLIGHT)
        called = await client.post(
            served.url, json={"query": "{ hello }"}, headers={"origin": "https://app.example"}
        )
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in asked.headers["access-control-allow-headers"].lower()
    assert called.headers["access-control-allow-origin"] == "https://app.example"


async def test_an_allowed_origin_reads_our_errors_too(serve: Serve) -> None:
    served = serve(origins=Origins(["https://app.example"]))
    async with http_client() as client:
        response = await client.post(served.url, content=b"", headers={"origin": "https://app.example"})
    assert response.status_code == 415
    assert response.headers["access-control-allow-origin"] == "https://app.example"


async def test_another_origin_may_not_call_and_is_named_with_the_setting(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    for origins in (Origins(["https://app.example"]), Origins()):
        served = serve(origins=origins)
        async with http_client() as client:
            for _ in range(2):
                asked = await client.options(
                    served.url, headers=PREFLIGHT | {"origin": "https://evil.example"}
                )
        assert asked.status_code == 403
        assert "access-control-allow-origin" not in asked.headers
        assert code(asked) == "FORBIDDEN"
        message = asked.json()["errors"][0]["message"]
        assert "https://evil.example" in message
        assert "GRAPHQL_API_ALLOWED_ORIGINS" in message
        log = capfd.readouterr().err
        assert log.count("https://evil.example") == 1  # however often it calls
        assert log.count("GRAPHQL_API_ALLOWED_ORIGINS") == 1
