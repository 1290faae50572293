"""A client of processes that are killed: keeps what it has read, and resumes at the next process."""

import asyncio
import json
import random
import sys
from asyncio.subprocess import PIPE, Process

from tests.drills.servers import Server


class Client:
    """Follows the feed through one process after another, each of which it kills after a while."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.messages: list[str] = []
        self.errors: list[str] = []
        self.cursor: str | None = None
        self.kills = 0
        self.current = asyncio.Event()
        """Set whenever a process says that nothing is left to read."""

    async def begin(self, server: Server) -> None:
        """Begins with the rows that are committed from now on."""
        process = await self._process(server)
        await self._line(process)
        process.kill()
        await self._rest(process)

    async def run(self, server: Server, *, lifetime: float) -> None:
        """Follows until cancelled. No process lives longer than `lifetime` seconds."""
        while True:
            process = await self._process(server)
            ended = False
            try:
                await self._line(process)  # it takes its time to begin
                async with asyncio.timeout(self._chance.random() * lifetime):
                    while await self._line(process):
                        pass
                ended = True
            except TimeoutError:
                self.kills += 1
            finally:
                # asyncio says 255 of a process that ended just before it was killed.
                if not ended and process.returncode is None:
                    process.kill()
                await self._rest(process)
            if ended and process.returncode:
                self.errors.append(f"a process ended by itself: {process.returncode}")

    async def _process(self, server: Server) -> Process:
        arguments = () if self.cursor is None else (self.cursor,)
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.drills.follower", server.address.dsn, *arguments, stdout=PIPE
        )

    async def _line(self, process: Process) -> bool:
        assert process.stdout is not None
        return self._take(await process.stdout.readline())

    async def _rest(self, process: Process) -> None:
        """Takes the lines that were complete before the process was killed."""
        rest, _ = await process.communicate()
        for line in rest.splitlines(keepends=True):
            self._take(line)

    def _take(self, line: bytes) -> bool:
        if not line.endswith(b"\n"):
            return False
        said = json.loads(line)
        if "error" in said:
            if said["error"] != "FEED_UNAVAILABLE":  # the server may be away for long
                self.errors.append(said["error"])
            return True
        self.cursor = said["cursor"]
        if "message" in said:
            self.messages.append(said["message"])
            self.current.clear()
        else:
            self.current.set()
        return True
