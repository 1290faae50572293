"""CPU time and memory of a process and its descendants, as the kernel counts them."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil


def cpu_seconds(process: int) -> float:
    """Returns the CPU seconds, user and system, of a process and its descendants, ended ones included."""
    total = 0.0
    for each in _tree(process):
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def peak_memory(process: int) -> int:
    """Returns the sum of the peak memory, in bytes, of a process and its descendants."""
    return sum(_peak(each.pid) for each in _tree(process))


def _tree(process: int) -> Iterator[psutil.Process]:
    root = psutil.Process(process)
    yield root
    yield from root.children(recursive=True)


def _peak(process: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
