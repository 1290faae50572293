"""Viewers checked a moment ago."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from graphql_api.identity.viewer import Viewer

MOST: Final = 10_000
"""Viewers a process remembers: a few MiB."""


class ViewerCache:
    """Viewers by their token's digest, each for a short while; the longest unused go first."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._viewers: OrderedDict[bytes, tuple[float, Viewer]] = OrderedDict()

    def get(self, key: bytes) -> Viewer | None:
        """The viewer, if they were checked within the time this cache keeps them."""
        found = self._viewers.get(key)
        if found is None or found[0] <= time.monotonic():
            return None
        self._viewers.move_to_end(key)
        return found[1]

    def put(self, key: bytes, viewer: Viewer) -> None:
        """Keep a viewer just checked."""
        if self._seconds == 0:
            return
        self._viewers[key] = (time.monotonic() + self._seconds, viewer)
        self._viewers.move_to_end(key)
        if len(self._viewers) > MOST:
            self._viewers.popitem(last=False)

    def drop(self, matches: Callable[[Viewer], bool]) -> None:
        """Forget every viewer of whom `matches` is true."""
        for key in [key for key, (_, viewer) in self._viewers.items() if matches(viewer)]:
            del self._viewers[key]
