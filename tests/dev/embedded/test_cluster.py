import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

import graphql_api
from graphql_api.dev.embedded import EmbeddedPostgres, EmbeddedPostgresError
from graphql_api.dev.embedded.programs import SystemUser
from tests.dev.embedded.helpers import SETTINGS, Client, copy, eventually, run, servers

pytestmark = pytest.mark.slow

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")

# An ordinary user, and a Python that they can run: ours may be in a private folder.
NOBODY = SystemUser(65534, 65534)
PYTHONS = (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}")


@pytest.fixture
def ordinary_user() -> dict[str, object]:
    """How to start a process as another user than root."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    python = next((python for python in PYTHONS if NOBODY.can_access(Path(python))), None)
    if python is None or not NOBODY.can_access(Path(graphql_api.__path__[0])):
        pytest.skip("other users can't reach Python, or the code")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return {"python": python, "cwd": "/", "env": environment, **NOBODY.popen_arguments()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    "name", ["a b", "a,b", "it's", 'a "quoted" one', "50%", "a&b=c?#d", "größe", "ready", "long" * 50]
)
def test_a_server_runs_in_a_folder_named(name: str, parent: Path, made_folder: Path) -> None:
    postgres = EmbeddedPostgres(copy(made_folder, parent / name), settings=SETTINGS)

    assert run(postgres.start(), "SELECT 1") == 1
    postgres.stop()


def test_processes_share_a_server_with_a_long_path(
    parent: Path, made_folder: Path, client: Callable[..., Client]
) -> None:
    folder = copy(made_folder, parent / ("long" * 50))

    assert client(folder).url() == client(folder).url()


def test_the_short_name_of_a_long_path_goes_with_the_server(parent: Path, made_folder: Path) -> None:
    postgres = EmbeddedPostgres(copy(made_folder, parent / ("long" * 50)), settings=SETTINGS)
    short = Path(parse_qs(urlsplit(postgres.start()).query)["host"][0])
    assert short.is_dir()

    postgres.stop()

    eventually(lambda: not short.exists())


def test_a_relative_folder_is_the_same_server(
    folder: Path, client: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)

    assert client(Path(folder.name)).url() == client(folder).url()


def test_the_folder_above_keeps_its_permissions(parent: Path, made_folder: Path) -> None:
    parent.chmod(0o751)
    postgres = EmbeddedPostgres(copy(made_folder, parent / "postgresql"), settings=SETTINGS)
    postgres.start()
    postgres.stop()

    assert mode(parent) == 0o751


def test_no_other_account_reaches_socket_data_or_log(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, settings=SETTINGS)
    postgres.start()

    assert (folder / "data" / ".s.PGSQL.5432").is_socket()
    assert mode(folder / "data") == 0o700
    assert mode(folder / "log") == 0o600
    postgres.stop()


def test_a_folder_that_is_no_cluster_is_left_alone(empty_folder: Path) -> None:
    (empty_folder / "data").mkdir(parents=True)
    (empty_folder / "data" / "mine").touch()

    with pytest.raises(EmbeddedPostgresError, match="not empty"):
        EmbeddedPostgres(empty_folder, settings=SETTINGS).start()
    assert (empty_folder / "data" / "mine").exists()


def test_remains_of_an_interrupted_start_are_cleared_away(empty_folder: Path) -> None:
    (empty_folder / "initdb" / "base").mkdir(parents=True)
    postgres = EmbeddedPostgres(empty_folder, settings=SETTINGS)

    assert run(postgres.start(), "SELECT 1") == 1
    assert not (empty_folder / "initdb").exists()
    postgres.stop()


@as_root
def test_below_a_private_folder_root_keeps_the_data_elsewhere(empty_folder: Path) -> None:
    empty_folder.parent.chmod(0o700)
    postgres = EmbeddedPostgres(empty_folder, settings=SETTINGS)
    run(postgres.start(), "CREATE TABLE t AS SELECT 7 AS n")
    postgres.stop()

    assert run(postgres.start(), "SELECT n FROM t") == 7
    assert mode(empty_folder.parent) == 0o700
    assert (empty_folder / "elsewhere" / "data" / "PG_VERSION").exists()
    postgres.stop()


@as_root
def test_a_folder_that_becomes_private_does_not_lose_its_data(folder: Path) -> None:
    folder.parent.chmod(0o700)

    with pytest.raises(EmbeddedPostgresError, match="can't enter"):
        EmbeddedPostgres(folder, settings=SETTINGS).start()


@as_root
def test_two_clones_below_private_folders_are_two_servers(parent: Path) -> None:
    parent.chmod(0o700)
    first = EmbeddedPostgres(parent / "1", settings=SETTINGS)
    second = EmbeddedPostgres(parent / "2", settings=SETTINGS)

    assert first.start() != second.start()
    first.stop()
    second.stop()


@as_root
def test_root_runs_a_server_as_the_account_that_owns_its_data(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    postgres = EmbeddedPostgres(folder, settings=SETTINGS)
    postgres.start()

    assert {process.uids().real for process in servers(folder)} == {65534}
    postgres.stop()


def test_an_ordinary_user_runs_a_server_as_themselves(
    parent: Path, client: Callable[..., Client], ordinary_user: dict[str, object]
) -> None:
    os.chown(parent, 65534, 65534)
    folder = parent / "postgresql"
    user = client(folder, **ordinary_user)

    assert run(user.url(), "SELECT 1") == 1
    assert {process.uids().real for process in servers(folder)} == {65534}
    assert mode(folder) == 0o700


def test_a_folder_of_another_user_is_an_error_for_an_ordinary_user(
    folder: Path, client: Callable[..., Client], ordinary_user: dict[str, object]
) -> None:
    user = client(folder, stderr=subprocess.PIPE, **ordinary_user)

    assert "Choose another GRAPHQL_API_DATA_DIR" in user.process.communicate()[1]
