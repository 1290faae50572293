"""The wheel beside the newest packages that its metadata allows: what `pip install` gives a user."""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import asyncpg
import pytest

from graphql_api.identity.viewer import Role
from graphql_api.postgres.address import Address
from tests import factories
from tests.service.conftest import served_from
from tests.service.sockets import socket_of

pytestmark = [pytest.mark.drill, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
PRIVATE_APIS = ROOT / "docs" / "private_apis.md"
QUERY = "{ trades(first: 1) { nodes { symbol session { account { user { email } } } } } }"
FOLLOW = "subscription { systemLogAdded(backfill: 1) { log { message } } }"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment that has the wheel, and what pip chooses to go with it."""
    tmp_path = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=ROOT)
    [wheel] = tmp_path.glob("*.whl")
    venv.create(tmp_path / "environment")
    python = str(tmp_path / "environment" / "bin" / "python")
    install(python, f"{wheel}[embedded,redis]", cwd=tmp_path)
    return python


def install(python: str, *what: str, cwd: Path) -> None:
    quietly = ("--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *quietly, *what, cwd=cwd)


def run(*command: str, cwd: Path, **environment: str) -> str:
    """What a command prints. Fails the test with what it says if it fails."""
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_the_wheel_migrates_and_serves_with_the_newest_packages(
    python: str, server: Address, connection: "asyncpg.Connection", tmp_path: Path
) -> None:
    listing = run(sys.executable, "-m", "pip", "--python", python, "list", "--format", "json", cwd=tmp_path)
    installed = json.loads(listing)
    versions = {package["name"]: package["version"] for package in installed}
    sys.stdout.write(f"{versions}\n")  # shown if the test fails

    await connection.execute("CREATE DATABASE of_the_wheel")
    address = Address.parse(server.dsn.replace("/postgres?", "/of_the_wheel?"))
    run(python, "-m", "graphql_api", "migrate", cwd=tmp_path, DATABASE_URL=address.dsn)
    user = await address.connect_plain()
    account = await factories.account(user, await factories.user(user))
    await factories.trade(user, await factories.session(user, account), symbol="XAUUSD")
    await factories.system_log(user, message="from another program")
    await user.close()

    async with served_from(address, tmp_path, python=python) as service:
        token = await service.user("operator@example.org", role=Role.OPERATOR)
        answer = (await service.ask(QUERY, token=token)).json()
        async with socket_of(service, token) as socket:
            await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": FOLLOW}}))
            while (event := json.loads(await socket.recv()))["type"] != "next":
                pass
        assert service.stop() == 0
    await connection.execute("DROP DATABASE of_the_wheel WITH (FORCE)")

    assert "errors" not in answer
    assert "XAUUSD" in json.dumps(answer)
    assert event["payload"]["data"]["systemLogAdded"]["log"]["message"] == "from another program"


def test_private_apis_are_still_there_in_the_newest_packages(python: str, tmp_path: Path) -> None:
    """Runs the tests that docs/private_apis.md names, with the packages that pip has chosen."""
    install(python, "--group", f"{ROOT / 'pyproject.toml'}:dev", cwd=tmp_path)
    tests = sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", PRIVATE_APIS.read_text("utf-8"))))
    assert len(tests) > 10
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, cwd=ROOT)
