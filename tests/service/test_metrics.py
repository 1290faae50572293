"""What /metrics has of a process at work."""

from tests.http_client import http_client
from tests.service.conftest import Service


async def test_metrics_show_the_feed_the_pool_and_the_documents(service: Service) -> None:
    token = await service.user("trader@example.org")
    for _ in range(3):
        await service.ask("{ viewer { roles } }", token=token)
    async with http_client() as client:
        text = (await client.get(f"http://127.0.0.1:{service.port}/metrics")).text
    numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")

    assert float(numbers["log_feed_subscribers"]) == 0
    assert float(numbers["database_pool_size"]) == 10
    assert float(numbers["database_pool_in_use"]) == 0
    assert float(numbers["graphql_document_cache_hits_total"]) == 2
    if service.environment.get("GRAPHQL_API_ENGINE") != "stock":
        assert float(numbers["graphql_plans_compiled_total"]) == 2
