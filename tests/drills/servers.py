"""PostgreSQL servers to break: each in a folder of its own, killed as a power cut would."""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil

from graphql_api.dev.embedded.programs import Programs, SystemUser, environment
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


class Server:
    """One server. `start` and `crash` as often as needed, then `remove`."""

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        programs: Callable[[SystemUser], Programs] | None = None,
    ) -> None:
        self.folder = scratch_folder()
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
        return Address.parse(f"postgresql://postgres@/{database}?host={self.folder}&port={PORT}")

    async def make(self, *, migrated: bool = True) -> None:
        """A fresh cluster with a database, running."""
        self.programs.run(
            "initdb",
            "--pgdata",
            self.data,
            "--username=postgres",
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
        """The same with a migrated database, in a moment: all copies have one system identifier."""
        made = await asyncio.to_thread(once_a_run, "cluster", lambda folder: asyncio.run(_made(folder)))
        subprocess.run(("cp", "-a", made / "data", self.data), check=True)
        await self.start()

    async def start(self) -> None:
        """Start, and wait until it answers."""
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
        """Wait until it takes connections."""
        while True:
            try:
                connection = await self.address_of("postgres").connect_plain()
            except (OSError, TimeoutError, asyncpg.PostgresError):
                await asyncio.sleep(0.02)
            else:
                await connection.close()
                return

    def crash(self) -> None:
        """Kill every process of it at once, so that what was not written is lost."""
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        postmaster.send_signal(signal.SIGSTOP)  # it would start others, and tell its children
        for process in (*postmaster.children(recursive=True), postmaster):
            process.kill()
        self._process.wait()
        self._process = None

    def stop(self, mode: signal.Signals = signal.SIGINT) -> None:
        """Shut down in good order."""
        if self._process is not None:
            self._process.send_signal(mode)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop every process of it where it is; connections stay open, and nothing answers."""
        for process in self._processes():
            process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for process in self._processes():
            process.send_signal(signal.SIGCONT)

    def _processes(self) -> list[psutil.Process]:
        """All of them, the first one first: it would start others."""
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        if self.folder.is_mount():
            subprocess.run(["umount", str(self.folder)], check=True)
        shutil.rmtree(self.folder)

    def limit_disk(self, megabytes: int) -> None:
        """Lay a file system of its own under the folder, before `make`. Only root can."""
        options = f"size={megabytes}m,mode=755"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], check=True)
        self.system_user.take_ownership(self.folder)

    def fill_disk(self) -> None:
        """Leave no room on the server's file system."""
        with (self.folder / "ballast").open("wb") as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(1 << 16))
                ballast.flush()

    def empty_disk(self) -> None:
        """Make the room again that `fill_disk` took."""
        (self.folder / "ballast").unlink()

    @property
    def has_ended(self) -> bool:
        """Whether the server has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def copy_of(self, primary: "Server", *, standby: bool) -> None:
        """Take a base backup of a running server, to follow it or to be restored alone."""
        self.programs.run(
            "pg_basebackup",
            *("--pgdata", self.data, "--host", primary.folder, "--port", str(PORT), "--username=postgres"),
            *("--checkpoint=fast", "--wal-method=stream", "--no-sync"),
            *(("--write-recovery-conf",) if standby else ()),
        )

    def promote(self) -> None:
        self.programs.run("pg_ctl", "promote", "--pgdata", self.data, "--wait")

    def recover(self) -> None:
        """Let the next start end the recovery of a backup on a timeline of its own."""
        signal_file = self.data / "recovery.signal"
        signal_file.touch()
        self.system_user.take_ownership(signal_file)
        self.settings |= {"restore_command": "false", "recovery_target_action": "promote"}

    async def accepts_writes(self) -> None:
        """Wait until it is a primary."""
        connection = await self.address_of("postgres").connect_plain()
        while await connection.fetchval("SELECT pg_is_in_recovery()"):
            await asyncio.sleep(0.02)
        await connection.close()

    def save(self) -> None:
        """Keep a copy of the disk as it is."""
        shutil.copytree(self.data, self.folder / "saved", copy_function=shutil.copy2)

    def set_back(self) -> None:
        """Put the copy in the place of the disk."""
        shutil.rmtree(self.data)
        (self.folder / "saved").rename(self.data)
        for path in (self.data, *self.data.rglob("*")):
            self.system_user.take_ownership(path)

    def login(self, database: str) -> tuple[str, ...]:
        """The arguments with which PostgreSQL's programs reach a database of it."""
        return (f"--host={self.folder}", f"--port={PORT}", "--username=postgres", f"--dbname={database}")


async def _made(folder: Path) -> None:
    """Leaves the data of a server with a migrated database in a folder, to be copied."""
    server = Server()
    try:
        await server.make()
        server.stop()
        subprocess.run(("cp", "-a", server.data, folder), check=True)
    finally:
        server.remove()
