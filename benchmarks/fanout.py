"""The feed's fan-out: thousands of subscribers of one process who want every row, and one who stops reading.

pgbench inserts numbered rows at a steady pace. Every subscription must get each number once and in order;
how long it took from the INSERT to the subscriber is its lag, the client's own delays included.
"""

import asyncio
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time, time
from typing import Any

import psutil

from benchmarks.cpu import cpu_seconds, peak_memory
from benchmarks.data import OPERATOR
from benchmarks.feed import transactions, until_all_hear
from benchmarks.postgres import pgbench
from benchmarks.report import table
from benchmarks.servers import OURS, running
from benchmarks.subscribers import Subscriber, subscribed
from benchmarks.workloads import parameters
from graphql_api.postgres.address import Address

# pgbench keeps its variables from one transaction to the next.
_NUMBERED = """\\set number :number + 1
INSERT INTO system_logs (level, component, message) VALUES ('INFO', 'benchmarks',
 lpad(:number::text, 8, '0') || lpad((extract(epoch FROM clock_timestamp()) * 1000)::bigint::text, 16, '0')
 || ' a line of the usual length, which says what was done and to what');
"""
# An event is a text of 126 to 65,535 bytes: {"id":"0","type":"next",…"message":"…
_SHORT_TEXT = b"\x81\x7e"
_NAMED = 12  # bytes before the end of its id, which is a digit
_QUOTE, _ZERO = b'"0'
_MESSAGE = b'"message":"'
_LONGEST_LAG = 60_000  # milliseconds; longer ones count as this
_SOON = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many sockets and subscriptions follow, and how many rows a second are inserted."""

    sockets: int
    each: int
    """Subscriptions on every socket, ten at most."""
    rows: int = 50
    """Rows inserted a second."""
    seconds: int = 30
    stalled: int = 1
    """Whether one more subscriber stops reading for a while."""

    @property
    def subscribers(self) -> int:
        """The number of subscriptions."""
        return self.sockets * self.each


CROWDS = (Crowd(1000, 5), Crowd(5000, 1), Crowd(5000, 1, stalled=0))


class Lags:
    """A histogram of lags, in milliseconds."""

    def __init__(self) -> None:
        self.counts = [0] * (_LONGEST_LAG + 1)

    def percentile(self, part: float) -> int:
        """Returns a percentile of the lags, in milliseconds."""
        left = sum(self.counts) * part
        for lag, count in enumerate(self.counts):
            left -= count
            if left <= 0:
                return lag
        return _LONGEST_LAG


class Reader(Subscriber):
    """Checks that the numbers of each of its subscriptions follow one another."""

    def __init__(
        self, asked: Mapping[str, Any], headers: Mapping[str, str], crowd: Crowd, lags: Lags | None
    ) -> None:
        super().__init__(asked, headers, crowd.each)
        self.last = [0] * crowd.each
        """The latest number of each subscription."""
        self.wrong = 0
        """How often a number did not follow the one before."""
        self._lags = lags

    def read_frames(self, buffer: bytes, at: int) -> int:
        """Read the number and the time of each row, without a call for each."""
        size, now, find, last = len(buffer), int(time() * 1000), buffer.find, self.last
        while True:
            end = row = 0
            if size - at > _NAMED and buffer.startswith(_SHORT_TEXT, at) and buffer[at + _NAMED] == _QUOTE:
                end = at + 4 + (buffer[at + 2] << 8 | buffer[at + 3])
                row = find(_MESSAGE, at, end) + len(_MESSAGE)
            if not row or end > size or not (read := buffer[row : row + 24]).isdigit():
                end = self.read_frame(buffer, at)  # a ping, the end of the buffer, a row that isn't numbered
                if end == at:
                    return at
                at = end
                continue
            number, written = divmod(int(read), 10**16)
            subscription = buffer[at + _NAMED - 1] - _ZERO
            if number != last[subscription] + 1:
                self.wrong += 1
            last[subscription] = number
            if self._lags is not None:
                self._lags.counts[min(max(now - written, 0), _LONGEST_LAG)] += 1
            self.events += 1
            at = end

    def stall(self) -> None:
        """Stops reading from the socket."""
        self._transport.pause_reading()

    def go_on(self) -> None:
        """Reads from the socket again."""
        self._transport.resume_reading()


@dataclass(frozen=True, slots=True)
class Followed:
    """The results of one run."""

    crowd: Crowd
    rows: int
    wrong: int
    """How many rows were missing, repeated or out of order."""
    missing: int
    """The most rows that anybody, the stalled one included, had not got soon after the last was written."""
    median: int
    """The median lag, in milliseconds."""
    slowest: int
    """The 99th percentile of the lag, in milliseconds."""
    server_cpu: float
    """CPU seconds of the server a second."""
    client_cpu: float
    before: int
    """The server's memory before anybody subscribed, in bytes."""
    subscribed: int
    """The server's memory once all had subscribed, in bytes."""
    peak: int


async def measure(address: Address, crowds: Sequence[Crowd]) -> list[Followed]:
    """Measure each crowd on a server of its own. Raises LoadError, ServerError."""
    return [await _run(address, crowd) for crowd in crowds]


async def _run(address: Address, crowd: Crowd) -> Followed:
    lags = Lags()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "insert.sql"
        script.write_text(_NUMBERED)
        pace = ("--no-vacuum", "--define=number=0", f"--rate={crowd.rows}", f"--time={crowd.seconds}")
        async with running(OURS, address, Path(folder) / "log") as process:
            server = psutil.Process(process.process)
            before = server.memory_info().rss
            asked, headers = parameters(OURS.name, "Feed", {}), await process.headers(OPERATOR)
            make = partial(Reader, asked, headers, crowd)
            async with subscribed(process.port, crowd.sockets, partial(make, lags)) as readers:
                stalling = [
                    await _with_small_buffers(process.port, partial(make, None)) for _ in range(crowd.stalled)
                ]
                readers.extend(stalling)
                await until_all_hear(readers, address)
                full = server.memory_info().rss
                used = cpu_seconds(process.process), process_time()
                writing = asyncio.create_task(asyncio.to_thread(pgbench, address, *pace, f"--file={script}"))
                await asyncio.sleep(crowd.seconds / 4)
                for reader in stalling:
                    reader.stall()
                await asyncio.sleep(crowd.seconds / 2)
                for reader in stalling:
                    reader.go_on()
                rows = transactions(await writing)
                used = cpu_seconds(process.process) - used[0], process_time() - used[1]
                await asyncio.sleep(_SOON)
                followed = Followed(
                    crowd,
                    rows,
                    sum(reader.wrong for reader in readers),
                    rows - min(last for reader in readers for last in reader.last),
                    lags.percentile(0.5),
                    lags.percentile(0.99),
                    used[0] / crowd.seconds,
                    used[1] / crowd.seconds,
                    before,
                    full,
                    peak_memory(process.process),
                )
    print(followed, flush=True)
    return followed


async def _with_small_buffers(port: int, make: Callable[[], Reader]) -> Reader:
    """A subscriber whose unread events soon fill the system's buffers, which on loopback hold megabytes."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
    connection.settimeout(0)
    await loop.sock_connect(connection, ("127.0.0.1", port))
    _, reader = await loop.create_connection(make, sock=connection)
    await reader.subscribed
    return reader


def fanout_table(runs: Sequence[Followed]) -> str:
    """Returns the table of all runs."""
    head = (
        "workload",
        "subscribers",
        "stalled",
        "deliveries",
        "out of turn",
        "missing",
        "goal",
        "median lag ms",
        "99 % lag ms",
        "server CPU",
        "client CPU",
        "empty MiB",
        "subscribed MiB",
        "peak MiB",
    )
    rows = [
        (
            "fan-out" if run is runs[0] else "",
            f"{run.crowd.sockets:,} sockets x {run.crowd.each}",
            f"{run.crowd.stalled}",
            f"{run.rows * run.crowd.subscribers:,}",
            f"{run.wrong}",
            f"{run.missing}",
            "0",
            f"{run.median}",
            f"{run.slowest}",
            f"{run.server_cpu:.0%}",
            f"{run.client_cpu:.0%}",
            f"{run.before / 2**20:.0f}",
            f"{run.subscribed / 2**20:.0f}",
            f"{run.peak / 2**20:.0f}",
        )
        for run in runs
    ]
    return table(head, rows)
