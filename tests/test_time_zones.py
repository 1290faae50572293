"""Time zones are those of the tzdata package, to the second."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphql_api.time_zones import offset_at, offset_changes, time_zone_names
from tests.domain.clock_model import zone_of

BEGIN = datetime(1850, 1, 1, tzinfo=UTC)
SECONDS = 249 * 365 * 86_400


@pytest.fixture
def other_files(tmp_path: Path) -> Iterator[None]:
    """An operating system in whose files Berlin has Tokyo's time, with a zone that nobody else has."""
    tokyo = resources.files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").read_bytes()
    for name in ("Europe/Berlin", "Here/Only"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(tokyo)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(tmp_path)])
    yield
    zoneinfo.reset_tzpath(before)


@given(
    name=st.sampled_from(sorted(time_zone_names())),
    moments=st.lists(st.integers(0, SECONDS).map(lambda n: BEGIN + timedelta(seconds=n)), max_size=50),
)
@settings(max_examples=100, deadline=None)
def test_offsets_are_tzdatas(name: str, moments: list[datetime]) -> None:
    changes = offset_changes(name)
    around = [change.start + timedelta(seconds=n) for change in changes[1:] for n in (-1, 0)]

    assert list(changes) == sorted(changes, key=lambda change: change.start)
    for moment in [*moments, *around]:
        assert offset_at(name, moment) == moment.astimezone(zone_of(name)).utcoffset(), moment


def test_the_operating_systems_files_change_nothing(other_files: None) -> None:
    offset_changes.cache_clear()
    time_zone_names.cache_clear()

    berlin = zoneinfo.ZoneInfo.no_cache("Europe/Berlin")  # another test may have read it before
    assert berlin.utcoffset(datetime(2026, 1, 1)) == timedelta(hours=9)  # noqa: DTZ001
    assert "Here/Only" not in time_zone_names()
    assert offset_changes("Europe/Berlin")[-1].offset == timedelta(hours=1)


@pytest.mark.parametrize("name", ["localtime", "Mars/Olympus_Mons", "", "europe/berlin", "../tzdata"])
def test_other_names_are_unknown(name: str) -> None:
    assert name not in time_zone_names()
    with pytest.raises(KeyError):
        offset_changes(name)
