"""Every close that we can cause, and what graphql-ws does then: docs/transports.md has what is tried here."""

import logging
import re
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from graphql_api.transport.close_codes import CloseCode, ServerCloseCode
from tests.node import node_with
from tests.transport.conftest import Serve, Served, until
from tests.transport.scripts import FOLDER, Script, script
from tests.transport.sockets import connected

PAGE = (Path(__file__).parents[2] / "docs" / "transports.md").read_text()
FOREVER = "subscription { forever(seconds: 60) }"

COMES_BACK = {1006, 1012, 1013, 4403, 4408}
GIVES_UP = {1002, 1007, 1009, 4400, 4401, 4406, 4409, 4429}


@pytest.fixture(scope="session")
def node() -> str:
    return node_with(FOLDER)


async def begun(output: Script) -> None:
    """Waits for the first event."""
    kind, *_ = await anext(output)
    assert kind == "next"


async def closed(output: Script) -> tuple[int, str]:
    """The code and the reason of the next close."""
    async for kind, *event in output:
        if kind == "closed":
            return event[0], event[1]
    raise AssertionError("the script ended")


async def comes_back(output: Script) -> bool:
    """Whether the subscription begins again, after as many attempts as it takes."""
    async for kind, *_ in output:
        if kind in ("next", "gave up"):
            return bool(kind == "next")
    raise AssertionError("the script ended")


@pytest.mark.parametrize(
    ("misbehaviour", "code"),
    [
        ("talks nonsense", 4400),
        ("nests deeply", 4400),
        ("subscribes early", 4401),
        ("repeats an id", 4409),
        ("initialises twice", 4429),
        ("sends too much", 1009),
        ("breaks the framing", 1002),
        ("breaks the encoding", 1007),
    ],
)
async def test_a_client_that_has_to_be_mended_gives_up(
    node: str, served: Served, misbehaviour: str, code: int
) -> None:
    async with script(node, "closes.mjs", served.socket_url, FOREVER, misbehaviour) as output:
        assert (await closed(output))[0] == code
        assert code in GIVES_UP
        assert not await comes_back(output)


async def test_a_client_of_another_protocol_gives_up(node: str, served: Served) -> None:
    # It finds its protocol missing in the handshake, and doesn't wait for the close (4406).
    async with script(node, "closes.mjs", served.socket_url, FOREVER, "speaks otherwise") as output:
        assert not await comes_back(output)


async def test_a_client_that_was_slow_to_initialise_comes_back(node: str, serve: Serve) -> None:
    served = serve(settings={"socket_init_timeout": 0.2})
    async with script(node, "closes.mjs", served.socket_url, FOREVER, "says nothing") as output:
        assert await closed(output) == (4408, "Connection initialisation timeout")
        assert await comes_back(output)


async def test_a_client_that_stalled_comes_back(node: str, serve: Serve) -> None:
    served = serve(settings={"heartbeat": 0.5})
    async with script(node, "closes.mjs", served.socket_url, FOREVER) as output:
        await begun(output)
        output.process.send_signal(signal.SIGSTOP)
        await until(lambda: served.world.closed)
        output.process.send_signal(signal.SIGCONT)
        assert await closed(output) == (4408, "Keepalive timeout")
        assert await comes_back(output)


async def test_a_client_that_left_much_unread_comes_back(node: str, serve: Serve) -> None:
    served = serve(settings={"send_timeout": 0.2})
    flood = "subscription { count(to: 1000000, size: 10000) }"
    async with script(node, "closes.mjs", served.socket_url, flood) as output:
        await begun(output)
        output.process.send_signal(signal.SIGSTOP)
        await until(lambda: served.world.closed)
        output.process.send_signal(signal.SIGCONT)
        assert (await closed(output))[0] == 1006
        assert await comes_back(output)


async def test_a_client_comes_back_after_a_deploy(node: str, serve: Serve) -> None:
    first = serve(settings={"drain_time": 0})
    async with script(node, "closes.mjs", first.socket_url, FOREVER, "waits") as output:
        await begun(output)
        first.stop()
        assert (await closed(output))[0] == 1012
        serve(settings={"drain_time": 0, "port": first.port})
        assert output.process.stdin is not None
        output.process.stdin.write(b"\n")
        assert await comes_back(output)


async def test_a_client_comes_back_with_a_new_token(node: str, serve: Serve) -> None:
    served = serve(settings={"identity_recheck": 0.05})
    async with script(node, "closes.mjs", served.socket_url, FOREVER) as output:
        await begun(output)
        served.world.revoked.add("ada")
        assert (await closed(output))[0] == 4403
        served.world.revoked.clear()
        assert await comes_back(output)


async def test_a_client_comes_back_after_an_outage(node: str, served: Served) -> None:
    served.world.down = True
    async with script(node, "closes.mjs", served.socket_url, FOREVER) as output:
        assert (await closed(output))[0] == 1013
        served.world.down = False
        assert await comes_back(output)


async def test_a_client_comes_back_when_there_is_room(node: str, serve: Serve) -> None:
    served = serve(settings={"max_sockets": 1})
    async with AsyncExitStack() as stack:
        async with connected(served):
            arguments = ("closes.mjs", served.socket_url, FOREVER)
            output = await stack.enter_async_context(script(node, *arguments))
            assert await closed(output) == (1013, "too many connections are open: try again")
        assert await comes_back(output)


async def test_a_client_comes_back_after_a_mistake_of_ours(
    node: str, served: Served, logged: list[logging.LogRecord]
) -> None:
    served.world.broken = True
    async with script(node, "closes.mjs", served.socket_url, FOREVER) as output:
        code, reason = await closed(output)
        served.world.broken = False
        assert (code, reason[:31]) == (1013, "unexpected error, logged as " + logged[0].getMessage()[9:12])
        assert await comes_back(output)


def documented() -> dict[int, bool]:
    """The page's table: whether clients come back after a code."""
    rows = re.findall(r"^\| ([\d, ]+) \|.*\| (comes back|gives up) \|$", PAGE, re.MULTILINE)
    return {int(code): fate == "comes back" for codes, fate in rows for code in codes.split(", ")}


def test_the_page_tells_what_was_tried() -> None:
    assert documented() == dict.fromkeys(COMES_BACK, True) | dict.fromkeys(GIVES_UP, False)


@pytest.mark.parametrize("code", [*CloseCode, *ServerCloseCode])
def test_every_code_was_tried(code: int) -> None:
    assert code in COMES_BACK | GIVES_UP
