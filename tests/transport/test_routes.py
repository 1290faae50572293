import httpx

from tests.transport.conftest import Serve, Served

PREFLIGHT = {
    "origin": "https://app.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


async def test_an_allowed_origin_may_call(serve: Serve) -> None:
    served = serve(allowed_origins=["https://app.example"])
    async with httpx.AsyncClient() as client:
        asked = await client.options(served.url, headers=PREFLIGHT)
        called = await client.post(
            served.url, json={"query": "{ hello }"}, headers={"origin": "https://app.example"}
        )
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in asked.headers["access-control-allow-headers"].lower()
    assert called.headers["access-control-allow-origin"] == "https://app.example"


async def test_an_allowed_origin_reads_our_errors_too(serve: Serve) -> None:
    served = serve(allowed_origins=["https://app.example"])
    async with httpx.AsyncClient() as client:
        response = await client.post(served.url, content=b"", headers={"origin": "https://app.example"})
    assert response.status_code == 415
    assert response.headers["access-control-allow-origin"] == "https://app.example"


async def test_another_origin_may_not_call(serve: Serve) -> None:
    served = serve(allowed_origins=["https://app.example"])
    async with httpx.AsyncClient() as client:
        asked = await client.options(served.url, headers=PREFLIGHT | {"origin": "https://evil.example"})
    assert asked.status_code == 400
    assert "access-control-allow-origin" not in asked.headers


async def test_no_origin_may_call_unless_one_is_allowed(served: Served) -> None:
    async with httpx.AsyncClient() as client:
        asked = await client.options(served.url, headers=PREFLIGHT)
    assert asked.status_code == 405
    assert "access-control-allow-origin" not in asked.headers
