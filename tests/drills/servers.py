"""PostgreSQL servers that tests may break: each in a folder of its own, with crashes, full disks and more."""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from graphql_api.dev.embedded.programs import DEBIAN, Programs, SystemUser, environment
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import migrate
from tests.once import once_a_run
from tests.scratch import scratch_folder

DATABASE = "drill"
PORT = 5432

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "max_prepared_transactions": "50",
    "max_wal_senders": "5",
    "wal_level": "replica",
    "shared_buffers": "64MB",
    "wal_writer_delay": "200ms",
    "wal_retrieve_retry_interval": "500ms",  # as deploy/postgres/postgresql.conf has it
    "checkpoint_timeout": "30s",
    "fsync": "off",  # the processes die, the machine doesn't
    "dynamic_shared_memory_type": "mmap",  # in the folder, so that a crash leaves nothing behind
}


def programs_of_debian() -> Callable[[SystemUser], Programs] | None:
    """Returns what makes the `programs` of Debian's PostgreSQL, which has ICU; None if there is none."""
    for folder in DEBIAN.glob("*/bin"):
        return partial(Programs, folder, int(folder.parent.name))
    return None


class Server:
    """One server. It can be started and crashed several times, and must be removed at the end."""

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        programs: Callable[[SystemUser], Programs] | None = None,
        *,
        superuser: str = "postgres",
    ) -> None:
        self.folder, self.superuser = scratch_folder(), superuser
        self.system_user = SystemUser.for_data(self.folder / "data")
        self.system_user.take_ownership(self.folder)
        self.programs = programs(self.system_user) if programs else Programs.find(self.system_user, None)
        self.settings = {**SETTINGS, "unix_socket_directories": str(self.folder), **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def address(self) -> Address:
        return self.address_of(DATABASE)

    def address_of(self, database: str) -> Address:
        user = quote(self.superuser, safe="")
        return Address.parse(f"postgresql://{user}@/{database}?host={self.folder}&port={PORT}")

    async def make(self, *, migrated: bool = True) -> None:
        """Makes a new cluster with a database, and starts it."""
        self.programs.run(
            "initdb",
            "--pgdata",
            self.data,
            f"--username={self.superuser}",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
        )
        await self.start()
        connection = await self.address_of("postgres").connect_plain()
        await connection.execute(f"CREATE DATABASE {DATABASE}")
        await connection.close()
        if migrated:
            await migrate(self.address)

    async def make_copy(self) -> None:
        """Copies a cluster with a migrated database, and starts it. All copies have one system identifier."""
        made = await asyncio.to_thread(once_a_run, "cluster", lambda folder: asyncio.run(_made(folder)))
        subprocess.run(("cp", "-a", made / "data", self.data), check=True)
        await self.start()

    async def start(self) -> None:
        """Starts the server, and waits until it accepts connections."""
        options = [f"--{name}={value}" for name, value in self.settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.programs.folder / "postgres"), "-D", str(self.data), *options],
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(),
                **self.system_user.popen_arguments(),
            )
        await self.answers()

    async def answers(self) -> None:
        """Waits until it accepts connections."""
        while True:
            try:
                connection = await self.address_of("postgres").connect_plain()
            except (OSError, TimeoutError, asyncpg.PostgresError):
                await asyncio.sleep(0.02)
            else:
                await connection.close()
                return

    def crash(self) -> None:
        """Kills all its processes at once, so that everything that was not written is lost."""
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        postmaster.send_signal(signal.SIGSTOP)  # it would start others, and tell its children
        for process in (*postmaster.children(recursive=True), postmaster):
            process.kill()
        self._process.wait()
        self._process = None

    def stop(self, mode: signal.Signals = signal.SIGINT) -> None:
        """Shuts the server down."""
        if self._process is not None:
            self._process.send_signal(mode)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Suspends all its processes: connections stay open, and get no answers."""
        for process in self._processes():
            process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continues the suspended processes."""
        for process in self._processes():
            process.send_signal(signal.SIGCONT)

    def _processes(self) -> list[psutil.Process]:
        """Returns all its processes, the postmaster first, since that would start others."""
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        if self.folder.is_mount():
            subprocess.run(["umount", str(self.folder)], check=True)
        shutil.rmtree(self.folder)

    def limit_disk(self, megabytes: int) -> None:
        """Mounts a file system of this size at the folder. Call it before `make`, as root."""
        options = f"size={megabytes}m,mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], check=True)
        self.system_user.take_ownership(self.folder)

    def fill_disk(self) -> None:
        """Fills the server's file system."""
        with (self.folder / "ballast").open("wb") as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(1 << 16))
                ballast.flush()

    def empty_disk(self) -> None:
        """Removes what `fill_disk` has written."""
        (self.folder / "ballast").unlink()

    @property
    def has_ended(self) -> bool:
        """Whether the server has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def copy_of(self, primary: "Server", *, standby: bool) -> None:
        """Takes a base backup of a running server; if `standby`, this server will follow it."""
        self.programs.run(
            "pg_basebackup",
            *("--pgdata", self.data, "--host", primary.folder, "--port", str(PORT), "--username=postgres"),
            *("--checkpoint=fast", "--wal-method=stream", "--no-sync"),
            *(("--write-recovery-conf",) if standby else ()),
        )

    def promote(self) -> None:
        self.programs.run("pg_ctl", "promote", "--pgdata", self.data, "--wait")

    def recover(self) -> None:
        """Makes the next start recover the backup, and end the recovery on a new timeline."""
        signal_file = self.data / "recovery.signal"
        signal_file.touch()
        self.system_user.take_ownership(signal_file)
        self.settings |= {"restore_command": "false", "recovery_target_action": "promote"}

    async def accepts_writes(self) -> None:
        """Waits until it is a primary."""
        connection = await self.address_of("postgres").connect_plain()
        while await connection.fetchval("SELECT pg_is_in_recovery()"):
            await asyncio.sleep(0.02)
        await connection.close()

    def save(self) -> None:
        """Saves a copy of the data as it is on disk."""
        shutil.copytree(self.data, self.folder / "saved", copy_function=shutil.copy2)

    def set_back(self) -> None:
        """Replaces the data by the saved copy."""
        shutil.rmtree(self.data)
        (self.folder / "saved").rename(self.data)
        for path in (self.data, *self.data.rglob("*")):
            self.system_user.take_ownership(path)

    def login(self, database: str) -> tuple[str, ...]:
        """Returns the arguments with which PostgreSQL's programs connect to one of its databases."""
        return (f"--host={self.folder}", f"--port={PORT}", "--username=postgres", f"--dbname={database}")


async def _made(folder: Path) -> None:
    """Makes a server with a migrated database, and moves its data to a folder, for copying."""
    server = Server()
    try:
        await server.make()
        server.stop()
        subprocess.run(("cp", "-a", server.data, folder), check=True)
    finally:
        server.remove()
