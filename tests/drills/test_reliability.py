"""One fault of docs/reliability.md in every run of the suite, all of them in the drills."""

import pytest

from tests.drills.reliability import FAULTS, measure, scene, what_is_missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name.endswith("promoted") else pytest.mark.drill) for name in FAULTS],
)
async def test_nothing_acknowledged_is_lost(name: str) -> None:
    fault = FAULTS[name]
    if (reason := what_is_missing(fault)) is not None:
        pytest.skip(reason)
    async with scene(fault) as set_up:
        seen = await measure(fault, set_up)

    assert (seen.lost, seen.repeated, seen.rows_lost) == (0, 0, 0), seen
    assert not set(seen.ends) & {"FEED_UNFIT_DATABASE", "INVALID_CURSOR", "INTERNAL_SERVER_ERROR"}
    assert "INTERNAL_SERVER_ERROR" not in seen.answers
