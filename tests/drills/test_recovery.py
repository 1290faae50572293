"""The drill of docs/recovery.md, small enough for every run of the suite."""

import pytest

from tests.drills.recovery import Report, promote_a_standby, restore_a_moment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def test_a_moment_is_restored_and_compared() -> None:
    await restore_a_moment(Report(), trades=500)


async def test_a_promoted_standby_has_every_acknowledged_write() -> None:
    await promote_a_standby(Report(), clients=4, seconds=0.5)
