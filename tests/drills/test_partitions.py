"""The tests of what the service does with the documented tables, run where these are partitioned."""

import asyncio
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = (
    "tests/activity",
    "tests/domain",
    "tests/relational",
    "tests/log_feed",
    "tests/service/test_main_job.py",
)
# What partitions can't have: rows without a time, ON CONFLICT by the id alone, plans by one index of the
# whole, replication into partitions that the copy has not, and dumps of single ones, which fire no trigger.
OTHERWISE = (
    "test_pages_go_on_after_a_cursor_and_filters_narrow_them",
    "test_lines_without_a_timestamp_are_in_no_bucket",
    "test_a_backfill_comes_first_in_the_order_of_its_times",
    "test_postgresql_and_memory_agree",
    "test_an_upsert_records_a_line_that_is_new",
    "test_a_page_reads_an_accounts_lines_in_the_order_of_their_index",
    "test_exposure_does_not_go_through_everybody_s_open_trades",
    "test_page_plans",
    "test_replicated_lines_are_recorded",
    "test_restoring",
)


@pytest.mark.drill
@pytest.mark.timeout(900)
async def test_all_of_it_holds_where_tables_are_partitioned() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-n", "0", "--partitioned", *TESTS),
        *("-k", " and ".join(f"not {name}" for name in OTHERWISE)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()

    assert process.returncode == 0, said.decode()[-5000:]
