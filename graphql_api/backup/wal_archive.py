"""The write-ahead log of one timeline of one server, as pg_receivewal writes it into a folder.

0001/000000010000000000000003.gz            a whole segment
0001/000000010000000000000004.gz.partial    the one being written; incomplete, if its writer was killed
0001/status.json                            up to which moment the log is complete
0002/                                       the part that was received after a gap
"""

import re
import shutil
import zlib
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from graphql_api.backup.catalog import Catalog
from graphql_api.backup.errors import BackupError
from graphql_api.backup.programs import Progress

_SEGMENT = re.compile(r"(?P<name>[0-9A-F]{24})(?:\.gz)?(?P<partial>\.partial)?")
_PIECE = 1 << 20
_GZIP = 31  # zlib's code for gzip's header and trailer


class WalStatus(BaseModel):
    """How far a log is received."""

    complete_until: datetime | None = None
    """By the server's clock: everything that was committed before is in the log."""


def parse_lsn(text: str) -> int:
    """Returns a position in the write-ahead log, which PostgreSQL writes as 0/3000028, as a number."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def segment_of(timeline: int, lsn: str, segment_bytes: int) -> str:
    """Returns the name of the segment that a position lies in."""
    number, per_file = parse_lsn(lsn) // segment_bytes, (1 << 32) // segment_bytes
    return f"{timeline:08X}{number // per_file:08X}{number % per_file:08X}"


def segment_after(name: str, segment_bytes: int) -> str:
    """Returns the name of the segment that follows on the same timeline."""
    per_file = (1 << 32) // segment_bytes
    number = int(name[8:16], 16) * per_file + int(name[16:], 16) + 1
    return f"{name[:8]}{number // per_file:08X}{number % per_file:08X}"


def read_status(part: Path) -> datetime | None:
    """Returns the moment up to which a part is complete; None if none is recorded."""
    try:
        return WalStatus.model_validate_json((part / "status.json").read_bytes()).complete_until
    except (FileNotFoundError, ValidationError):
        return None


def write_status(part: Path, moment: datetime) -> None:
    """Records up to which moment a part is complete."""
    temporary = part / "status.json.new"
    temporary.write_text(WalStatus(complete_until=moment).model_dump_json())
    temporary.rename(part / "status.json")


class WalArchive:
    """The folder of one timeline of one server."""

    def __init__(self, catalog: Catalog, server: str, timeline: int) -> None:
        self.folder = catalog.wal_folder / f"{server}-{timeline:08X}"

    def receiving_folder(self, *, after_gap: bool) -> Path:
        """Returns the folder to receive into: pg_receivewal always continues after the last segment in it."""
        parts = sorted(self.folder.glob("[0-9]" * 4))
        if parts and not after_gap:
            return parts[-1]
        part = self.folder / f"{len(parts) + 1:04}"
        part.mkdir(mode=0o700, parents=True)
        return part

    def segments(self) -> dict[str, Path]:
        """Returns the segments by name, in order; the whole file of a segment that also has a partial one."""
        found: dict[str, Path] = {}
        for path in sorted(self.folder.glob("*/*")):
            match = _SEGMENT.fullmatch(path.name)
            if match and (match["name"] not in found or not match["partial"]):
                found[match["name"]] = path
        return dict(sorted(found.items()))

    def bytes(self) -> int:
        """Returns the size of the log in bytes."""
        return sum(path.stat().st_size for path in self.segments().values())

    def run_from(self, first: str, segment_bytes: int) -> list[Path]:
        """Returns the segments from `first` on, up to the next gap or the end of the log.

        Raises BackupError where one is missing in the middle of what was received.
        """
        segments = self.segments()
        paths, name = [], first
        while name in segments:
            paths.append(segments[name])
            name = segment_after(name, segment_bytes)
        part = paths[-1].parent if paths else None
        if part is not None and any(each > name for each, path in segments.items() if path.parent == part):
            raise BackupError(
                f"segment {name} of the write-ahead log is missing in {part}: no moment after the backup "
                "before it, up to the next backup, can be restored"
            )
        return paths

    def complete_until(self, first: str, segment_bytes: int) -> datetime | None:
        """Returns up to when the log is complete from a segment on; None if it isn't even in the log."""
        paths = self.run_from(first, segment_bytes)
        return read_status(paths[-1].parent) if paths else None

    def remove(self) -> None:
        """Removes the whole folder: no backup of the timeline is left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_before(self, segment: str) -> int:
        """Removes segments that no backup needs which begins at `segment` or later; returns how many."""
        old = [path for name, path in self.segments().items() if name < segment]
        for path in old:
            path.unlink()
        return len(old)


def unpack(paths: list[Path], into: Path, segment_bytes: int, progress: Progress) -> None:
    """Writes segments into the `pg_wal` of a data folder.

    The last one may be incomplete: PostgreSQL finds its end by itself. Raises BackupError for any other
    incomplete one.
    """
    for number, path in enumerate(paths):
        match = _SEGMENT.fullmatch(path.name)
        assert match is not None  # noqa: S101 - they come from `segments`
        size = _unpack(path, into / match["name"], segment_bytes)
        if size < segment_bytes and number < len(paths) - 1:
            raise BackupError(f"{path} is damaged: no moment after it can be restored before the next backup")
        progress("write-ahead log", (number + 1) * segment_bytes, len(paths) * segment_bytes)


def _unpack(source: Path, target: Path, segment_bytes: int) -> int:
    """Unpacks one segment, padded with zeros to its full size. Returns how many bytes of it there were."""
    size = 0
    unzip = zlib.decompressobj(_GZIP) if ".gz" in source.suffixes else None
    with source.open("rb") as packed, target.open("wb") as unpacked:
        while piece := packed.read(_PIECE):
            try:
                piece = unzip.decompress(piece) if unzip else piece
            except zlib.error:
                break  # incomplete, or damaged: the rest can't be read
            unpacked.write(piece)
            size += len(piece)
        unpacked.truncate(segment_bytes)
    target.chmod(0o600)
    return min(size, segment_bytes)
