"""The statement that reads pages, compared with what it should find: over made-up ids and offsets."""

import itertools
import random
from typing import Any
from uuid import UUID

import asyncpg

from graphql_api.log_feed import LogFilter
from graphql_api.log_feed.feed_offset import LOWEST_ID, FeedOffset, FeedPage
from graphql_api.log_feed.tail import fetch_page
from graphql_api.postgres.database import Database

XIDS = range(100, 112)
ERRORS = LogFilter(minimum_level="ERROR")
Row = dict[str, Any]


async def fill(connection: "asyncpg.Connection", chance: random.Random) -> list[Row]:
    """Lines of transactions that never were."""
    rows: list[Row] = [
        {
            "id": str(UUID(int=chance.getrandbits(128))),
            "xid": chance.choice(XIDS),
            "level": chance.choice(("info", "error")),
        }
        for _ in range(60)
    ]
    await connection.execute("ALTER TABLE system_logs DISABLE TRIGGER ALL")
    await connection.executemany(
        "INSERT INTO system_logs (id, level, component, message) VALUES ($1, $2, 'test', 'm')",
        [(row["id"], row["level"]) for row in rows],
    )
    await connection.executemany(
        "INSERT INTO log_feed.entries (xid, id) VALUES ($1, $2)", [(row["xid"], row["id"]) for row in rows]
    )
    return rows


def some_offset(chance: random.Random, rows: list[Row]) -> FeedOffset:
    following = chance.choice((*XIDS, 90, 120))
    below = [xid for xid in XIDS if xid < following]
    running = sorted(chance.sample(below, chance.randint(0, len(below) // 2)))
    others = [row for row in rows if row["xid"] < following and row["xid"] not in running]
    half = chance.choice([None, *((row["xid"], row["id"]) for row in others)])
    return FeedOffset(following, tuple(running), half)


def some_way(chance: random.Random, rows: list[Row]) -> tuple[FeedOffset, FeedOffset]:
    """Where a reader is, and where it is to stop."""
    while True:
        base, until = some_offset(chance, rows), some_offset(chance, rows)
        if until.next_xid >= base.next_xid:
            return base, FeedOffset(until.next_xid, until.in_progress)


def expected(rows: list[Row], base: FeedOffset, until: FeedOffset) -> list[Row]:
    """What `until` has read and `base` has not, in the feed's order."""
    half, half_id = base.partial or (None, LOWEST_ID)

    def order(row: Row) -> tuple[bool, int, str] | None:
        xid = row["xid"]
        if xid == half:
            return (False, xid, row["id"]) if row["id"] > half_id else None
        known = xid < until.next_xid and xid not in until.in_progress
        new = xid >= base.next_xid or xid in base.in_progress
        return (True, xid, row["id"]) if known and new else None

    found = [(key, row) for row in rows if (key := order(row)) is not None]
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def shown(page: FeedPage) -> list[tuple[int, str]]:
    return [(row["xid"], row["id"]) for row in page.rows if row["wanted"]]


async def test_a_page_holds_what_comes_next(database: Database, connection: "asyncpg.Connection") -> None:
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    rows = await fill(connection, chance)
    for _ in range(150):
        base, until = some_way(chance, rows)
        wanted, looked, most = (
            chance.choice((LogFilter(), ERRORS)),
            chance.randint(1, 40),
            chance.randint(1, 40),
        )
        page, _ = await fetch_page(database.fetch, base, looked, wanted=wanted, max_wanted=most, until=until)
        following = expected(rows, base, until)
        page_rows = following[:looked]
        matching = [row for row in page_rows if wanted.matches({**row, "component": "", "message": ""})]
        note = f"seed {seed}: {base} until {until}, {looked} rows, {most} of {wanted}"
        got = shown(page)
        assert got == [(row["xid"], row["id"]) for row in matching[: len(got)]], note
        assert len(got) >= min(most, len(matching)), note
        if page.complete:
            assert len(got) == len(matching), note
            assert len(following) < looked, note
        next_of = {row["id"]: after["xid"] for row, after in itertools.pairwise(page_rows)}
        assert [row["following_xid"] for row in page.rows] == [next_of.get(row["id"]) for row in page.rows], (
            note
        )


async def test_whoever_reads_page_after_page_reads_everything_once(
    database: Database, connection: "asyncpg.Connection"
) -> None:
    seed = random.SystemRandom().getrandbits(32)
    chance = random.Random(seed)
    rows = await fill(connection, chance)
    for _ in range(30):
        base, until = some_way(chance, rows)
        if not until.covers(base):
            continue
        offset, received = base, []
        complete = False
        while not complete:
            size = chance.randint(1, 12)
            page, _ = await fetch_page(
                database.fetch, offset, size, max_wanted=chance.randint(1, size), until=until
            )
            taken = chance.randint(0, len(page.rows))
            received += shown(page)[:taken]
            complete = taken == len(page.rows) and page.complete
            if taken == len(page.rows):
                offset = page.end
            elif taken:
                offset = page.offset_after(taken - 1)
        wanted = [(row["xid"], row["id"]) for row in expected(rows, base, until)]
        assert sorted(received) == sorted(wanted), f"seed {seed}: {base} until {until}"
