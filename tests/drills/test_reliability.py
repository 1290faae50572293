"""One fault of docs/reliability.md in every run of the suite, all of them in the drills."""

import pytest

from tests.drills.reliability import FAULTS, measure, scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name.endswith("promoted") else pytest.mark.drill) for name in FAULTS],
)
async def test_nothing_acknowledged_is_lost(name: str) -> None:
    async with scene() as set_up:
        seen = await measure(FAULTS[name], set_up)

    assert (seen.lost, seen.repeated, seen.rows_lost) == (0, 0, 0), seen
    assert not set(seen.ends) & {"FEED_UNFIT_DATABASE", "INVALID_CURSOR", "INTERNAL"}
    assert "INTERNAL" not in seen.answers
