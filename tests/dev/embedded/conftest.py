"""Folders of embedded servers, and other processes that use these servers."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from graphql_api.dev.embedded import EmbeddedPostgres
from tests.dev.embedded.helpers import SETTINGS, Client, copy, eventually, supervisors
from tests.scratch import scratch_folder


@pytest.fixture
def client() -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def start(folder: Path, **process: Any) -> Client:
        clients.append(Client(folder, **process))
        return clients[-1]

    yield start
    for each in clients:
        each.process.kill()
        each.process.communicate()


@pytest.fixture
def parent() -> Iterator[Path]:
    """A folder for the folders of servers, which every system user can enter."""
    parent = scratch_folder()
    yield parent
    eventually(lambda: not supervisors(parent))
    parent.chmod(0o755)
    for link in parent.rglob("elsewhere"):
        shutil.rmtree(link.resolve())
    shutil.rmtree(parent)


@pytest.fixture
def empty_folder(parent: Path) -> Path:
    """A folder in which no server has run yet."""
    return parent / "postgresql"


@pytest.fixture(scope="session")
def made_folder() -> Iterator[Path]:
    """The folder of a server that has run and was stopped, for copying."""
    folder = scratch_folder()
    postgres = EmbeddedPostgres(folder, settings=SETTINGS)
    postgres.start()
    postgres.stop()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def folder(made_folder: Path, parent: Path) -> Path:
    """The folder of a server that has run and was stopped, for one test."""
    return copy(made_folder, parent / "postgresql")
