import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from graphql_api.dev.embedded import EmbeddedPostgres, EmbeddedPostgresError
from graphql_api.dev.embedded.programs import SystemUser
from tests.dev.embedded.helpers import (
    SETTINGS,
    Client,
    eventually,
    kill,
    postmaster,
    run,
    run_eventually,
    servers,
    supervisors,
)

pytestmark = pytest.mark.slow


def test_a_first_start_makes_the_database(empty_folder: Path) -> None:
    postgres = EmbeddedPostgres(empty_folder, "trading desk", SETTINGS)

    assert run(postgres.start(), "SELECT current_database()") == "trading desk"
    postgres.stop()


def test_a_later_start_finds_the_data_again(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, settings=SETTINGS)
    run(postgres.start(), "CREATE TABLE t AS SELECT 7 AS n")
    postgres.stop()

    assert run(postgres.start(), "SELECT n FROM t") == 7
    postgres.stop()


def test_settings_reach_the_server(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, settings={**SETTINGS, "search_path": 'a, "b c"'})

    assert run(postgres.start(), "SHOW search_path") == 'a, "b c"'
    postgres.stop()


def test_the_last_stop_returns_when_the_server_has_shut_down(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, settings=SETTINGS)
    postgres.start()
    postgres.stop()

    assert servers(folder) == []


def test_two_first_starts_at_once_share_one_server(empty_folder: Path, client: Callable[..., Client]) -> None:
    first, second = client(empty_folder), client(empty_folder)

    assert first.url() == second.url() != ""
    assert len(supervisors(empty_folder)) == 1


def test_a_stop_leaves_the_server_to_others(folder: Path, client: Callable[..., Client]) -> None:
    postgres = EmbeddedPostgres(folder, settings=SETTINGS)
    postgres.start()
    other = client(folder)
    url = other.url()

    postgres.stop()

    assert run(url, "SELECT 1") == 1
    assert other.finish() == 0
    assert servers(folder) == []


def test_starts_and_stops_of_many_never_meet_a_dying_server(
    folder: Path, client: Callable[..., Client]
) -> None:
    for _ in range(3):
        clients = [client(folder) for _ in range(3)]
        for each in clients:
            assert run(each.url(), "SELECT 1") == 1
            assert each.finish() == 0


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda end: end.name)
def test_nothing_stays_behind_when_the_last_client_is_ended_by(
    end: signal.Signals, folder: Path, client: Callable[..., Client]
) -> None:
    only = client(folder)
    only.url()

    only.end_by(end)

    eventually(lambda: not servers(folder) and not supervisors(folder))


def test_data_survives_the_kill_of_everything_at_once(folder: Path, client: Callable[..., Client]) -> None:
    only = client(folder)
    run(only.url(), "CREATE TABLE t AS SELECT 7 AS n")
    kill(*supervisors(folder), *servers(folder), psutil.Process(only.process.pid))
    postgres = EmbeddedPostgres(folder, settings=SETTINGS)

    assert run(postgres.start(), "SELECT n FROM t") == 7
    postgres.stop()


def test_a_killed_server_comes_back_with_its_data(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, settings=SETTINGS)
    url = postgres.start()
    run(url, "CREATE TABLE t AS SELECT 7 AS n")

    postmaster(folder).kill()

    assert run_eventually(url, "SELECT n FROM t") == 7
    postgres.stop()
    assert servers(folder) == []


def test_a_start_after_an_interrupted_first_start_succeeds(
    empty_folder: Path, client: Callable[..., Client]
) -> None:
    interrupted = client(empty_folder)
    eventually((empty_folder / "initdb" / "base").exists)
    interrupted.process.kill()
    postgres = EmbeddedPostgres(empty_folder, settings=SETTINGS)

    assert run(postgres.start(), "SELECT 1") == 1
    postgres.stop()


def test_the_process_that_has_the_number_of_a_killed_server_is_left_alone(folder: Path) -> None:
    system_user = SystemUser.for_data(folder / "data")
    with subprocess.Popen(("sleep", "600"), **system_user.popen_arguments()) as other:
        lines = (str(other.pid), str(folder / "data"), "0", "5432", str(folder / "data"), "", "0 0", "ready")
        (folder / "data" / "postmaster.pid").write_text("\n".join(lines))
        postgres = EmbeddedPostgres(folder, settings=SETTINGS)

        assert run(postgres.start(), "SELECT 1") == 1
        postgres.stop()
        assert other.poll() is None
        other.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_killed_supervisor_ends_its_server(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, settings=SETTINGS)
    postgres.start()

    kill(*supervisors(folder))

    eventually(lambda: not servers(folder))
    postgres.stop()


def test_a_server_whose_supervisor_was_killed_gets_a_new_one(
    folder: Path, client: Callable[..., Client]
) -> None:
    first = client(folder)
    run(first.url(), "CREATE TABLE t AS SELECT 7 AS n")
    kill(*supervisors(folder))
    second = client(folder)

    assert run(second.url(), "SELECT n FROM t") == 7
    assert len(supervisors(folder)) == 1


def test_a_terminated_supervisor_goes_on_for_its_clients(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, settings=SETTINGS)
    url = postgres.start()

    [supervisor] = supervisors(folder)
    supervisor.terminate()
    paused = supervisor.num_ctx_switches().voluntary
    eventually(lambda: supervisor.num_ctx_switches().voluntary >= paused + 2)  # it has looked again since

    assert run(url, "SELECT 1") == 1
    postgres.stop()


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, settings={"shared_buffers": "plenty"})

    with pytest.raises(EmbeddedPostgresError, match='invalid value for parameter "shared_buffers": "plenty"'):
        postgres.start()
    eventually(lambda: not supervisors(folder))


def test_a_failed_start_can_be_repeated(folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError):
        EmbeddedPostgres(folder, settings={"shared_buffers": "plenty"}).start()
    postgres = EmbeddedPostgres(folder, settings=SETTINGS)

    assert run(postgres.start(), "SELECT 1") == 1
    postgres.stop()


def test_a_second_start_of_the_same_object_is_refused(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder, settings=SETTINGS)
    postgres.start()

    with pytest.raises(EmbeddedPostgresError, match="started already"):
        postgres.start()
    postgres.stop()


def test_a_stop_without_a_start_does_nothing(empty_folder: Path) -> None:
    EmbeddedPostgres(empty_folder).stop()

    assert not empty_folder.exists()


def test_a_folder_that_cannot_be_made_is_named(empty_folder: Path) -> None:
    empty_folder.write_text("a file")

    with pytest.raises(EmbeddedPostgresError, match=f"{empty_folder}.*DATABASE_URL"):
        EmbeddedPostgres(empty_folder / "below").start()
    empty_folder.unlink()


def test_variables_for_other_postgresql_programs_do_not_matter(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGHOST": "nowhere", "PGPORT": "1", "PGDATA": "/nowhere", "PGUSER": "nobody"}.items():
        monkeypatch.setenv(name, value)
    postgres = EmbeddedPostgres(folder, settings=SETTINGS)

    assert run(postgres.start(), "SELECT current_user") == "postgres"
    postgres.stop()
