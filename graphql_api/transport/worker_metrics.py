"""The metrics of all worker processes in one response, since a scrape reaches only one of them.

Each worker serves its metrics at a Unix socket in a shared folder. The worker that is scraped asks all of
them, and adds the label `process` to each number.
"""

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "GRAPHQL_API_WORKER_SOCKETS"
"""The environment variable in which the parent process gives its workers the folder of the sockets."""
_TIMEOUT = 2.0  # seconds for the answer of another worker


@contextmanager
def shared_folder() -> Iterator[None]:
    """In the parent process: makes a folder for the sockets of the workers that the block starts."""
    folder = tempfile.mkdtemp(prefix="graphql-api-workers-")
    os.environ[FOLDER_VARIABLE] = folder
    try:
        yield
    finally:
        del os.environ[FOLDER_VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)


class WorkerMetrics:
    """The metrics of this process or, if it is one of several workers, of all of them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        folder = os.environ.get(FOLDER_VARIABLE)
        self._folder = Path(folder) if folder else None

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Serves this worker's metrics to the other workers during the block."""
        if self._folder is None:
            yield
            return
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, exist_ok=True)
        path = self._folder / f"{os.getpid()}.sock"
        server = await asyncio.start_unix_server(self._answer, path)
        try:
            yield
        finally:
            server.close()
            with suppress(OSError):
                await asyncio.to_thread(path.unlink)
                await asyncio.to_thread(
                    self._folder.rmdir
                )  # the last worker removes it, if the parent was killed

    async def text(self) -> bytes:
        """Returns all metrics, in Prometheus' text format."""
        if self._folder is None:
            return generate_latest(self._registry)
        sockets = await asyncio.to_thread(lambda folder: sorted(folder.glob("*.sock")), self._folder)
        texts = await asyncio.gather(*(_ask(path) for path in sockets))
        merged = CollectorRegistry()
        merged.register(
            _Merged({path.stem: text for path, text in zip(sockets, texts, strict=True) if text is not None})
        )
        return generate_latest(merged)

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(generate_latest(self._registry))
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()


class _Merged(Collector):
    """The metrics of several processes: each family once, each number with the label of its process."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for process, text in self._texts.items():
            for family in text_string_to_metric_families(text):
                merged = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                merged.samples += [
                    Sample(
                        sample.name,
                        {**sample.labels, "process": process},
                        sample.value,
                        sample.timestamp,
                        sample.exemplar,
                    )
                    for sample in family.samples
                ]
        yield from families.values()


async def _ask(path: Path) -> str | None:
    """Returns the metrics of a worker; None if it has ended, or is too busy."""
    try:
        async with asyncio.timeout(_TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                return (await reader.read()).decode()
            finally:
                writer.close()
    except ConnectionRefusedError:
        await asyncio.to_thread(path.unlink, missing_ok=True)  # it was killed
    except (OSError, TimeoutError) as error:
        log.warning("worker %s sends no metrics: %r", path.stem, error)
    return None
