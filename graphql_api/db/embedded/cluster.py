"""The embedded server's data: in which folder, made how, and reached by which socket."""

import hashlib
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graphql_api.db.embedded.programs import Account, EmbeddedPostgresError, Programs, run

# As root, where data goes whose own folder no other account can enter.
ELSEWHERE = Path("/var/lib/graphql-api")
PORT = 5432

_SOCKET = f".s.PGSQL.{PORT}"
_LONGEST_SOCKET_PATH = 103  # bytes; macOS allows the fewest

_CREATE_DATABASE = r"""
SELECT format('CREATE DATABASE %I', :'name')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A PostgreSQL data folder, and the programs that work on it."""

    data: Path
    programs: Programs

    @classmethod
    def open(cls, base: Path, *, lock: int, sync: bool) -> "Cluster":
        """The cluster of `base`, made if there is none yet.

        The caller holds `lock`, a file descriptor, and so does the making: if the caller is killed, the
        next one waits until the making has ended too. Without `sync` a crash of the machine may spoil it.
        """
        elsewhere = base / "elsewhere"
        home = elsewhere.resolve() if elsewhere.is_dir() else base
        account = Account.for_data(home / "data")
        if home == base:
            base.chmod(0o700 if account.uid is None else 0o711)
            if account.uid is not None and not account.may("x", base):
                home = _home_elsewhere(elsewhere)
        data = home / "data"
        version = data / "PG_VERSION"
        made_by = int(version.read_text()) if version.exists() else None
        cluster = cls(data, Programs.find(account, made_by).within_reach(home))
        if made_by is None:
            cluster._make(lock=lock, sync=sync)
        return cluster

    def _make(self, *, lock: int, sync: bool) -> None:
        half = self.data.with_name("initdb")
        shutil.rmtree(half, ignore_errors=True)  # of a start that was interrupted
        half.mkdir(mode=0o700)
        self.programs.account.give(half)
        # The same sort order on every machine, and upper and lower case of all letters.
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        self.programs.run(
            "initdb",
            *("--pgdata", half, "--username=postgres", "--encoding=UTF8", "--data-checksums"),
            *(locale if self.programs.version >= 17 else ("--locale=C.UTF-8",)),
            *("--auth-local=trust", "--auth-host=reject"),
            *(() if sync else ("--no-sync",)),
            keep_open=(lock,),
        )
        half.rename(self.data)

    @property
    def pid_file(self) -> Path:
        """What the server writes about itself; one that was killed leaves it behind."""
        return self.data / "postmaster.pid"

    def command(self, settings: Mapping[str, str]) -> list[str]:
        """The command that runs the server."""
        folder = str(self._socket_folder()).replace('"', '""')
        ours = {"listen_addresses": "", "port": str(PORT), "unix_socket_directories": f'"{folder}"'}
        options = [f"--{name}={value}" for name, value in {**settings, **ours}.items()]
        return [str(self.programs.folder / "postgres"), "-D", str(self.data), *options]

    def socket_of_running_server(self) -> Path | None:
        """The folder of its socket if a server is ready to answer."""
        try:
            lines = self.pid_file.read_text().splitlines()
        except FileNotFoundError:
            return None
        if len(lines) < 8 or lines[7].strip() != "ready":
            return None
        folder = Path(lines[4])
        with socket.socket(socket.AF_UNIX) as client:
            # The file may be a killed server's, the socket is never answered by anyone else.
            return folder if client.connect_ex(str(folder / _SOCKET)) == 0 else None

    def create_database(self, name: str, socket_folder: Path) -> None:
        """Create a database unless it exists."""
        self.programs.run(
            "psql",
            *("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--set=name={name}"),
            *(f"--host={socket_folder}", f"--port={PORT}", "--username=postgres", "--dbname=postgres"),
            text=_CREATE_DATABASE,
        )

    def stop(self) -> None:
        """Shut the server down, unless it is down already, and wait for it."""
        command = (self.programs.folder / "pg_ctl", "stop", "--pgdata", self.data, "--mode=fast")
        run(command, account=self.programs.account)

    def _socket_folder(self) -> Path:
        """The data folder, or a short name for it: the paths of sockets can't be long."""
        # A comma would part a URL's hosts.
        if len(os.fsencode(self.data / _SOCKET)) <= _LONGEST_SOCKET_PATH and "," not in str(self.data):
            return self.data
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        folder = Path(f"/tmp/graphql-api-{digest}")  # noqa: S108 - short, and open to every account
        account = self.programs.account
        try:
            folder.mkdir(mode=0o700)
            account.give(folder)
        except FileExistsError:
            found = folder.lstat()
            owner = os.geteuid() if account.uid is None else account.uid
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
                raise EmbeddedPostgresError(
                    f"{folder} is another user's: choose a shorter GRAPHQL_API_DATA_DIR"
                ) from None
        return folder


def _home_elsewhere(link: Path) -> Path:
    ELSEWHERE.mkdir(parents=True, exist_ok=True)
    ELSEWHERE.chmod(0o755)
    home = Path(tempfile.mkdtemp(prefix="postgresql-", dir=ELSEWHERE))
    home.chmod(0o711)
    link.unlink(missing_ok=True)
    link.symlink_to(home)
    return home
