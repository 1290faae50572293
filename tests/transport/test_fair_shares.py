"""The operations of one viewer wait for each other, and those of other viewers don't wait for them."""

import asyncio

from tests.http_client import http_client
from tests.transport.conftest import Serve, until
from tests.transport.sockets import ask, connected, hear


async def test_one_viewers_operations_wait_for_each_other_and_not_others_for_them(serve: Serve) -> None:
    served = serve(settings={"max_viewer_operations": 2, "max_concurrent_operations": 12})
    slow = {"query": "{ slow(seconds: 0.7) }"}
    ada, bob = ({"authorization": f"Bearer {name}"} for name in ("ada", "bob"))
    async with http_client() as client:
        flood = [asyncio.create_task(client.post(served.url, json=slow, headers=ada)) for _ in range(6)]
        await until(lambda: served.world.started)
        answer = await client.post(served.url, json={"query": "{ hello }"}, headers=bob)
        assert answer.status_code == 200
        assert served.world.started == 2
        assert served.world.finished == 0
        answers = await asyncio.gather(*flood)
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 5 + [503]
    assert served.world.started == 5


async def test_a_socket_that_has_closed_is_not_counted_for_who_signed_in_on_it(serve: Serve) -> None:
    served = serve(settings={"max_viewer_sockets": 2})
    for _ in range(3):
        async with connected(served) as socket:
            await ask(socket, "in", 'mutation { write(seconds: 0.1) signIn(token: "ada") }')
            await until(lambda: served.world.started > served.world.finished)
        await until(lambda: served.world.started == served.world.finished)
    async with connected(served, {"authorization": "Bearer ada"}) as socket:
        await ask(socket, "a", "{ whoami }")
        assert (await hear(socket))["payload"] == {"data": {"whoami": "ada"}}


async def test_waiting_for_a_turn_counts_as_time_of_the_operation(serve: Serve) -> None:
    served = serve(settings={"max_viewer_operations": 1, "operation_timeout": 0.3})
    headers = {"authorization": "Bearer ada"}
    async with http_client() as client:
        answers = await asyncio.gather(
            *(client.post(served.url, json={"query": "{ slow }"}, headers=headers) for _ in range(2))
        )
    assert [answer.status_code for answer in answers] == [504, 504]
