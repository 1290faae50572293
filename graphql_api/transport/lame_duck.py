"""Graceful shutdown: a process that will stop says so at /readyz, and still serves for a while (a lame duck).

A load balancer learns from /readyz that it should send no more requests. Until it has, requests still come,
which a process that closes its port at once would refuse.
"""

import asyncio
import logging
import signal
import threading
from types import FrameType

log = logging.getLogger(__name__)


class LameDuck:
    """Delays the shutdown after SIGTERM. A second signal, or Ctrl-C, ends the process at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.leaving = False
        """Whether the process will stop, and so isn't ready any more."""

    def install(self) -> None:
        """Replaces the server's handler of SIGTERM. Call it once the server runs."""
        if not self._seconds or threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        end = signal.getsignal(signal.SIGTERM)

        def leave(number: int, frame: FrameType | None) -> None:
            if not callable(end):
                raise SystemExit(0)
            if self.leaving:
                end(number, frame)
                return
            self.leaving = True
            log.info("not ready any more; the port closes in %g s", self._seconds)
            loop.call_soon_threadsafe(loop.call_later, self._seconds, end, number, None)

        signal.signal(signal.SIGTERM, leave)
