"""Dumps in a bucket of S3, or of a store with the same API: `<prefix>/<id>/backup.json`, `dump`, and so on.

Finished dumps are kept in the bucket. A local folder has those that are being made or restored.
"""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from graphql_api.backup.catalog import Backup, Catalog, Kind
from graphql_api.backup.errors import BackupError
from graphql_api.backup.programs import Progress, quiet

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_RECORD = "backup.json"
_FILES = ("dump", "fingerprints.json", _RECORD)
"""In the order in which they are written: a backup exists once the last file does."""
_PIECE = 8 << 20


class Bucket:
    """A catalog's dumps in a bucket."""

    def __init__(self, url: str) -> None:
        """`url` is s3://bucket/prefix; keys, region and endpoint are in AWS's own variables."""
        self._store = _open(url)
        self._url = url

    async def put(self, catalog: Catalog, backup: Backup, *, progress: Progress = quiet) -> None:
        """Uploads a dump's files, unless they are there, and keeps only its record in the local folder."""
        with _explained(self._url):
            for name in _FILES:
                file = catalog.path(backup) / name
                path, size = f"{backup.id}/{name}", file.stat().st_size if file.exists() else None
                if size is None or (name != _RECORD and await self._size(path) == size):
                    continue
                progress(f"uploading {name}", 0, size)
                await self._store.put_async(path, file)
        (catalog.path(backup) / "dump").unlink(missing_ok=True)

    async def records(self, catalog: Catalog) -> None:
        """Copies the record of every dump in the bucket to the catalog, and removes those that are gone."""
        with _explained(self._url):
            found = [meta["path"] async for page in self._store.list_async() for meta in page]
        there = {path.split("/")[0] for path in found if path.endswith("/backup.json")}
        here = {backup.id for backup in catalog.backups() if backup.kind is Kind.DUMP}
        for missing in sorted(there - here):
            await self._get(catalog, missing, "fingerprints.json")
            await self._get(catalog, missing, "backup.json")
        for backup in catalog.backups():
            if backup.id in here - there and not (catalog.path(backup) / "dump").exists():
                await asyncio.to_thread(shutil.rmtree, catalog.path(backup))

    async def get(self, catalog: Catalog, backup: Backup, *, progress: Progress = quiet) -> None:
        """Downloads a dump's file, unless the local folder has it."""
        if not (catalog.path(backup) / "dump").exists():
            progress("downloading the dump", 0, backup.bytes)
            await self._get(catalog, backup.id, "dump")

    async def remove(self, backup: Backup) -> None:
        """Removes a dump: its record first, so that an incomplete one is never taken for a backup."""
        with _explained(self._url):
            for name in reversed(_FILES):
                await self._store.delete_async(f"{backup.id}/{name}")

    async def _size(self, path: str) -> int | None:
        """Returns the size of a file in the bucket; None if there is none."""
        try:
            return (await self._store.head_async(path))["size"]
        except FileNotFoundError:  # not obstore's NotFoundError
            return None

    async def _get(self, catalog: Catalog, backup_id: str, name: str) -> None:
        folder = catalog.folder / backup_id
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        temporary = folder / f"{name}.new"
        with _explained(self._url), temporary.open("wb") as file:
            answer = await self._store.get_async(f"{backup_id}/{name}")
            async for piece in answer.stream(min_chunk_size=_PIECE):
                await asyncio.to_thread(file.write, piece)
        temporary.rename(folder / name)


def _open(url: str) -> "ObjectStore":
    try:
        from obstore.exceptions import BaseError  # noqa: PLC0415 - an optional dependency
        from obstore.store import from_url  # noqa: PLC0415
    except ImportError:
        raise BackupError(
            "GRAPHQL_API_BACKUP_BUCKET needs `pip install 'tradingbot-graphql-api[buckets]'`"
        ) from None
    try:
        return from_url(url)
    except (BaseError, ValueError) as error:
        raise BackupError(f"GRAPHQL_API_BACKUP_BUCKET is no bucket: {error}") from None


@contextmanager
def _explained(url: str) -> Iterator[None]:
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        yield
    except (BaseError, FileNotFoundError) as error:  # a missing object is no BaseError
        raise BackupError(f"the bucket {url} can't be used: {str(error).splitlines()[0]}") from error
