"""Times how long a newcomer waits for a clone, `make serve`, the first answer and the first live line.

Run it by itself, on a quiet machine: `python -m tests.drills.stopwatch`. It clones the commit that is checked
out, with an empty home folder, and prints what the screen showed, when, and the longest time without change.
"""

import asyncio
import os
import pty
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import httpx

from graphql_api.cli.demo import PASSWORD
from graphql_api.dev.demo.desk import OPERATOR
from tests.http_client import http_client
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
LOGIN = f'mutation {{ login(email: "{OPERATOR}", password: "{PASSWORD}") {{ accessToken }} }}'
FOLLOW = "subscription { systemLogAdded { log { message } } }"


class Screen:
    """What a terminal has shown: each piece, with the seconds since the start."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.shown: list[tuple[float, str]] = []

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def add(self, text: str) -> None:
        self.shown.append((self.seconds, text))
        sys.stdout.write(f"{self.seconds:6.1f} s  {text.strip()}\n")

    def longest_pause(self) -> tuple[float, str]:
        """Returns the longest time without a change of the screen, and what it showed then."""
        ends = [at for at, _ in self.shown[1:]] + [self.seconds]
        return max((end - at, text.strip()) for (at, text), end in zip(self.shown, ends, strict=True))


async def run() -> None:
    """Clones, serves, queries and follows. Raises RuntimeError if the service ends by itself."""
    folder = Path(tempfile.mkdtemp(prefix="a clone "))
    screen = Screen()
    try:
        clone, port = folder / "clone", free_port()
        await (await asyncio.create_subprocess_exec("git", "clone", "--quiet", ROOT, clone)).wait()
        screen.add("cloned")
        ours, theirs = pty.openpty()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VIRTUAL_ENV")}
        process = await asyncio.create_subprocess_exec(
            "make",
            "serve",
            cwd=clone,
            env={**kept, "HOME": str(folder), "GRAPHQL_API_PORT": str(port)},
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        asyncio.get_running_loop().add_reader(ours, lambda: screen.add(os.read(ours, 4096).decode()))
        try:
            await _answer_and_line(f"http://127.0.0.1:{port}/graphql", screen, process)
        finally:
            asyncio.get_running_loop().remove_reader(ours)
            os.killpg(process.pid, signal.SIGINT)
            await process.wait()
            os.close(ours)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    pause, text = screen.longest_pause()
    sys.stdout.write(f"longest without anything new: {pause:.1f} s, after {text!r}\n")


async def _answer_and_line(url: str, screen: Screen, process: asyncio.subprocess.Process) -> None:
    async with http_client() as client:
        while True:
            try:
                answer = (await client.post(url, json={"query": LOGIN})).json()
                break
            except httpx.TransportError:
                if process.returncode is not None:
                    raise RuntimeError("make serve has ended") from None
                await asyncio.sleep(0.1)
        screen.add(f"FIRST ANSWER after {screen.seconds:.1f} s")
        headers = {
            "accept": "text/event-stream",
            "authorization": f"Bearer {answer['data']['login']['accessToken']}",
        }
        async with client.stream("POST", url, json={"query": FOLLOW}, headers=headers) as events:
            async for line in events.aiter_lines():
                if "message" in line:
                    break
        screen.add(f"FIRST LIVE LINE after {screen.seconds:.1f} s")


if __name__ == "__main__":
    asyncio.run(run())
