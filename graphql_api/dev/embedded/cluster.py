"""The embedded server's data: where it is, how it is initialised, and the socket of its server."""

import hashlib
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graphql_api.dev.embedded.programs import EmbeddedPostgresError, Programs, SystemUser, run
from graphql_api.dev.embedded.supervisor import lines_if_ready

# Where root keeps data if no other user can enter the folder that was asked for.
ROOT_DATA_FOLDER = Path("/var/lib/graphql-api")
PORT = 5432
SOCKET = f".s.PGSQL.{PORT}"

_LONGEST_SOCKET_PATH = 103  # bytes; macOS allows the fewest

_SINCE = {"summarize_wal": 17}
"""The first version of PostgreSQL that has a setting."""

_CREATE_DATABASE = r"""
SELECT format('CREATE DATABASE %I', :'name')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A PostgreSQL data folder, and the programs that run on it."""

    data: Path
    programs: Programs

    @classmethod
    def open(cls, base: Path, *, lock: int, sync: bool) -> "Cluster":
        """Returns the cluster in `base`, initialised if there is none yet.

        The caller holds `lock`, a file descriptor, and initdb inherits it: if the caller is killed, the next
        one waits until initdb has ended too. Without `sync` a crash of the machine may leave it corrupt.
        """
        elsewhere = base / "elsewhere"
        home = elsewhere.resolve() if elsewhere.is_dir() else base
        system_user = SystemUser.for_data(home / "data")
        if home == base:
            base.chmod(0o700 if system_user.is_current else 0o711)
            if not system_user.can_access(base):
                home = _make_home(elsewhere, system_user)
        data = home / "data"
        version = data / "PG_VERSION"
        made_by = int(version.read_text()) if version.exists() else None
        cluster = cls(data, Programs.find(system_user, made_by).copied_if_inaccessible(home))
        if made_by is None:
            cluster._make(lock=lock, sync=sync)
        return cluster

    def _make(self, *, lock: int, sync: bool) -> None:
        unfinished = self.data.with_name("initdb")
        shutil.rmtree(unfinished, ignore_errors=True)  # of a start that was interrupted
        unfinished.mkdir(mode=0o700)
        self.programs.system_user.take_ownership(unfinished)
        # The same sort order on every machine, and upper and lower case of all letters.
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        self.programs.run(
            "initdb",
            *("--pgdata", unfinished, "--username=postgres", "--encoding=UTF8", "--data-checksums"),
            *(locale if self.programs.version >= 17 else ("--locale=C.UTF-8",)),
            *("--auth-local=trust", "--auth-host=reject"),
            *(() if sync else ("--no-sync",)),
            keep_open=(lock,),
        )
        unfinished.rename(self.data)

    @property
    def pid_file(self) -> Path:
        """The file with the server's process id; a server that was killed leaves it behind."""
        return self.data / "postmaster.pid"

    def command(self, socket_folder: Path, settings: Mapping[str, str]) -> list[str]:
        """Returns the command that runs the server, without settings that its version doesn't know."""
        folder = str(socket_folder).replace('"', '""')  # quoted, since it is a list of folders
        required = {"listen_addresses": "", "port": str(PORT), "unix_socket_directories": f'"{folder}"'}
        known = {n: value for n, value in settings.items() if self.programs.version >= _SINCE.get(n, 0)}
        options = [f"--{name}={value}" for name, value in {**known, **required}.items()]
        return [str(self.programs.folder / "postgres"), "-D", str(self.data), *options]

    def socket_of_running_server(self) -> Path | None:
        """Returns the folder of the socket if a server accepts connections."""
        lines = lines_if_ready(self.pid_file)
        if not lines:
            return None
        folder = Path(lines[4])
        with socket.socket(socket.AF_UNIX) as client:
            # If the file is left from a server that was killed, no process listens at its socket.
            return folder if client.connect_ex(str(folder / SOCKET)) == 0 else None

    def create_database(self, name: str, socket_folder: Path) -> None:
        """Creates a database unless it exists."""
        self.programs.run(
            "psql",
            *("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--set=name={name}"),
            *(f"--host={socket_folder}", f"--port={PORT}", "--username=postgres", "--dbname=postgres"),
            text=_CREATE_DATABASE,
        )

    def shut_down(self) -> None:
        """Signals the server that wrote the pid file to shut down, without waiting."""
        command = (self.programs.folder / "pg_ctl", "stop", "--pgdata", self.data, "--mode=fast", "--no-wait")
        run(command, system_user=self.programs.system_user)  # it may have ended a moment ago

    def socket_folder(self) -> Path:
        """Returns the folder for the socket: the data folder, or another one if its path is too long."""
        # A comma would separate hosts in the URL.
        if len(os.fsencode(self.data / SOCKET)) <= _LONGEST_SOCKET_PATH and "," not in str(self.data):
            return self.data
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        folder = Path(f"/tmp/graphql-api-{digest}")  # noqa: S108 - short, and accessible to every user
        system_user = self.programs.system_user
        try:
            folder.mkdir(mode=0o700)
            system_user.take_ownership(folder)
        except FileExistsError:
            found = folder.lstat()
            owner = os.geteuid() if system_user.is_current else system_user.uid
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
                raise EmbeddedPostgresError(
                    f"{folder} is another user's: choose a shorter GRAPHQL_API_DATA_DIR"
                ) from None
        return folder


def _make_home(link: Path, system_user: SystemUser) -> Path:
    """Makes a folder that `system_user` can enter, with `link` pointing to it, and returns it."""
    if (link.parent / "data").exists():
        raise EmbeddedPostgresError(f"the user that owns {link.parent / 'data'} can't enter its folder")
    try:
        ROOT_DATA_FOLDER.mkdir(parents=True)
        ROOT_DATA_FOLDER.chmod(0o755)
    except FileExistsError:
        pass
    home = Path(tempfile.mkdtemp(prefix="postgresql-", dir=ROOT_DATA_FOLDER))
    home.chmod(0o711)
    if not system_user.can_access(home):
        raise EmbeddedPostgresError(
            f"no user but root can enter {link.parent} or {ROOT_DATA_FOLDER}: "
            "choose another GRAPHQL_API_DATA_DIR, or set DATABASE_URL"
        )
    link.unlink(missing_ok=True)
    link.symlink_to(home)
    return home
