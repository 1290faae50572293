import httpx

from tests.transport.conftest import Served


async def test_a_live_process_says_so_whatever_its_database_does(
    client: httpx.AsyncClient, served: Served
) -> None:
    served.world.down = True
    assert (await client.get("/healthz")).status_code == 200


async def test_a_process_with_its_database_is_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/readyz")).status_code == 200


async def test_a_process_without_its_database_is_not_ready(client: httpx.AsyncClient, served: Served) -> None:
    served.world.down = True
    response = await client.get("/readyz")
    assert (response.status_code, response.json()) == (503, {"status": "unavailable"})
