"""A real PgBouncer in front of PostgreSQL, if the machine has one."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from graphql_api.postgres.address import Address
from tests.ports import free_port

_PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def has_pgbouncer() -> bool:
    """Returns whether this machine has PgBouncer."""
    return _PROGRAM is not None


class PgBouncer:
    """A PgBouncer in front of a database. `mode` is session, transaction or statement."""

    def __init__(self, address: Address, folder: Path, mode: str, **settings: Any) -> None:
        parts = urlsplit(address.dsn)
        host = parse_qs(parts.query)["host"][0]
        self._port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}{parts.path}"
        """The database through it."""
        config = {
            "listen_addr": "127.0.0.1",
            "listen_port": self._port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": mode,
            "default_pool_size": 4,
            "ignore_startup_parameters": "extra_float_digits",
            **settings,
        }
        folder.mkdir()
        self._file = folder / "pgbouncer.ini"
        self._file.write_text(
            f"[databases]\n* = host={host} port=5432 user=postgres\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in config.items())
        )
        folder.chmod(0o755)
        # It refuses root, and only the server's user gets at its socket.
        self._user = Path(host).stat().st_uid if os.geteuid() == 0 else None

    async def start(self) -> None:
        """Starts, and waits until it accepts connections."""
        if _PROGRAM is None:
            pytest.skip("there is no pgbouncer (Debian's package pgbouncer)")
        self._process = await asyncio.create_subprocess_exec(
            _PROGRAM, "-q", str(self._file), stderr=asyncio.subprocess.DEVNULL, user=self._user
        )
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except ConnectionRefusedError:
                assert self._process.returncode is None
                await asyncio.sleep(0.02)
            else:
                writer.close()
                break

    async def stop(self) -> None:
        """Kills it, and with it every connection through it."""
        self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def pgbouncer(address: Address, folder: Path, mode: str, **settings: Any) -> AsyncIterator[str]:
    """Runs a PgBouncer, and yields the URL of the database through it."""
    pooler = PgBouncer(address, folder, mode, **settings)
    await pooler.start()
    try:
        yield pooler.url
    finally:
        await pooler.stop()
