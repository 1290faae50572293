"""A program that is refused, or called in the wrong way, says so in one sentence."""

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import Callable
from functools import partial

import pytest

from tests.examples.conftest import python, typescript
from tests.service.conftest import PASSWORD, Service

EMAIL = "trader@example.org"
FOLLOWERS = [
    pytest.param(partial(python, "log_feed"), id="log_feed"),
    pytest.param(partial(typescript, "follow"), id="follow"),
]
PROGRAMS = [
    *FOLLOWERS,
    pytest.param(partial(python, "account_activity"), id="account_activity"),
    pytest.param(partial(typescript, "table"), id="table"),
]
pytestmark = pytest.mark.slow


async def run(*command: str) -> tuple[int | None, str]:
    """Runs a command to its end, and returns its status and what it has said; it prints nothing."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    out, said = await process.communicate()
    assert out == b""
    return process.returncode, said.decode()


@pytest.mark.parametrize("example", PROGRAMS)
async def test_a_wrong_password_is_one_sentence(service: Service, example: Callable[[], list[str]]) -> None:
    await service.user(EMAIL)
    status, said = await run(*example(), service.url, EMAIL, "wrong")

    assert (status, said) == (1, "the e-mail or the password is wrong\n")


@pytest.mark.parametrize("example", PROGRAMS)
async def test_arguments_that_are_missing_are_named(example: Callable[[], list[str]]) -> None:
    status, said = await run(*example(), "http://127.0.0.1:1/graphql")

    assert status == 1
    assert said.startswith("usage: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("example", FOLLOWERS)
async def test_a_feed_that_cant_go_on_is_one_sentence(
    service: Service, example: Callable[[], list[str]]
) -> None:
    """A trader may not follow the log."""
    await service.user(EMAIL)
    status, said = await run(*example(), service.url, EMAIL, PASSWORD)

    assert (status, said) == (1, "this needs the scope logs:read\n")
