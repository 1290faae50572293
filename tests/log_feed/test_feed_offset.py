"""Offsets, against a model of PostgreSQL's transaction ids.

The model's `fetch` finds what `tail.fetch_page` finds; test_lossless compares the two on a real server. Here
a history of a thousand transactions takes no time, so that every interleaving gets its turn.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg

from graphql_api.log_feed.feed_offset import LOWEST_ID, FeedOffset, FeedPage

Row = dict[str, object]


def wanted(row: Mapping[str, object] | asyncpg.Record) -> bool:
    """A filter."""
    return bool(row["wanted"])


def page_of(rows: list[Row], base: FeedOffset, in_progress: tuple[int, ...], *, complete: bool) -> FeedPage:
    following = [*(row["xid"] for row in rows[1:]), None]
    found = [{**row, "following_xid": xid} for row, xid in zip(rows, following, strict=True)] if rows else []
    return FeedPage(base, found, in_progress, complete=complete)  # type: ignore[arg-type]


@dataclass
class Model:
    """Transactions as PostgreSQL numbers them: an id at the first write, visible at once on commit."""

    following: int = 10
    open: dict[int, list[Row]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    written: int = 0

    def begin(self) -> int:
        self.following += 1
        self.open[self.following - 1] = []
        return self.following - 1

    def write(self, xid: int, rows: int) -> None:
        for _ in range(rows):
            self.written += 1
            scattered = self.written * 7919 % 10_007
            row = {"xid": xid, "id": f"{scattered:08d}", "number": self.written, "wanted": scattered % 3}
            self.open[xid].append(row)

    def commit(self, xid: int) -> None:
        self.rows += self.open.pop(xid)

    def crash(self) -> None:
        """What is open is gone, and its ids are given out again unless a later one is on the disk."""
        self.open.clear()
        self.following = max((int(str(row["xid"])) for row in self.rows), default=9) + 1

    def step(self, name: str, which: int, rows: int) -> None:
        """What writers do: begin a transaction, or go on with one of those that are open."""
        opened = sorted(self.open)
        if name == "begin":
            self.write(self.begin(), rows)
        elif name == "crash":
            self.crash()
        elif opened:
            xid = opened[which % len(opened)]
            match name:
                case "write":
                    self.write(xid, rows)
                case "commit":
                    self.commit(xid)
                case "abort":
                    del self.open[xid]

    def fetch(self, base: FeedOffset, rows: int, until: FeedOffset | None = None) -> FeedPage:
        in_progress = tuple(sorted(self.open)) if until is None else until.in_progress
        limit = self.following if until is None else until.next_xid
        partial, partial_id = base.partial or (None, LOWEST_ID)

        def place(row: Row) -> tuple[bool, int, str] | None:
            xid, row_id = int(str(row["xid"])), str(row["id"])
            if xid == partial:
                return (False, xid, row_id) if row_id > partial_id else None
            if xid in in_progress or xid >= limit or (xid < base.next_xid and xid not in base.in_progress):
                return None
            return (True, xid, row_id)

        found = sorted((key, n) for n, row in enumerate(self.rows) if (key := place(row)) is not None)[:rows]
        page = page_of([self.rows[n] for _, n in found], base, in_progress, complete=len(found) < rows)
        page.rows = [row for row in page.rows if wanted(row) or row["following_xid"] is None]
        return page

    def newest(self) -> FeedOffset:
        following = max((int(str(row["xid"])) for row in self.rows), default=0) + 1
        return FeedOffset(following, tuple(xid for xid in sorted(self.open) if xid < following))


class Client:
    """Reads pages, from where it was cut off, and keeps what it gets."""

    def __init__(self, offset: FeedOffset) -> None:
        self.offset = offset
        self.received: list[object] = []

    def take(self, page: FeedPage, rows: int) -> None:
        """Read the first rows of a page, and how it ends where there are no more."""
        self.received += [row["number"] for row in page.rows[:rows] if wanted(row)]
        if rows >= len(page.rows):
            self.offset = page.end
        elif rows:
            self.offset = page.offset_after(rows - 1)


# Of a hundred steps, about how many are of each kind.
STEPS = {"begin": 18, "write": 14, "commit": 16, "abort": 5, "crash": 1, "fetch": 20, "hub": 12, "join": 14}


def history(seed: int, length: int) -> list[tuple[str, int, int, int]]:
    chance = random.Random(seed)
    names = chance.choices(list(STEPS), list(STEPS.values()), k=length)
    return [(name, chance.randrange(6), chance.randint(1, 4), chance.randint(0, 4)) for name in names]


def run(seed: int) -> tuple[Model, list[Client]]:
    model = Model()
    clients = [Client(model.newest()), Client(model.newest())]
    hub = model.newest()
    for name, which, rows, taken in history(seed, 150):
        client = clients[which % 2]
        match name:
            case "fetch":
                client.take(model.fetch(client.offset, rows), taken)
            case "hub":
                page = model.fetch(hub, rows)
                page.drop_partial_transaction()
                page.limit_in_progress(4)
                hub = page.end
            case "join" if hub.partial is None and hub.covers(client.offset):
                client.take(page := model.fetch(client.offset, rows, hub), taken)
                if page.complete and client.offset == page.end:
                    client.offset = hub
            case _:
                model.step(name, which, taken)
    for client in clients:
        for xid in sorted(model.open):
            model.commit(xid)
        for _ in range(2 * len(model.rows) + 2):
            client.take(model.fetch(client.offset, 3), 3)
    return model, clients


def test_every_committed_row_is_read_once_whatever_the_interleaving() -> None:
    first = random.SystemRandom().getrandbits(32)
    for seed in range(first, first + 150):
        model, clients = run(seed)
        for client in clients:
            numbers = sorted(str(row["number"]) for row in model.rows if wanted(row))
            assert sorted(map(str, client.received)) == numbers, f"seed {seed}"


def rows_of(*xids: int) -> list[Row]:
    return [{"xid": xid, "id": f"{number:08d}"} for number, xid in enumerate(xids)]


def page(base: FeedOffset, *xids: int, in_progress: tuple[int, ...] = (), complete: bool = True) -> FeedPage:
    return page_of(rows_of(*xids), base, in_progress, complete=complete)


def test_an_offset_stays_at_what_was_read_though_the_server_has_given_out_more() -> None:
    assert page(FeedOffset(10), 12, in_progress=(11, 15)).end == FeedOffset(13, (11,))


def test_an_offset_inside_a_transaction_names_its_last_row() -> None:
    assert page(FeedOffset(10), 12, 12).offset_after(0) == FeedOffset(13, (), (12, "00000000"))


def test_a_full_page_may_leave_its_last_transaction_to_the_next() -> None:
    full = page(FeedOffset(10), 11, 12, 12, complete=False)
    assert full.end == FeedOffset(13, (), (12, "00000002"))
    full.drop_partial_transaction()
    assert len(full.rows) == 1
    assert full.end == FeedOffset(12)


def test_a_page_within_one_transaction_is_read_in_part() -> None:
    full = page(FeedOffset(10), 12, 12, complete=False)
    full.drop_partial_transaction()
    assert full.end == FeedOffset(13, (), (12, "00000001"))


def test_an_open_transaction_is_remembered_until_its_rows_are_read() -> None:
    base = FeedOffset(13, (11,))
    assert page(base, 14, in_progress=(11,)).end == FeedOffset(15, (11,))
    assert page(base, 11).end == FeedOffset(13)


def test_an_open_transaction_that_ends_without_rows_is_forgotten() -> None:
    assert page(FeedOffset(13, (11,))).end == FeedOffset(13)


def test_a_page_ends_before_it_would_remember_too_many_open_transactions() -> None:
    cut = page(FeedOffset(10), 13, 15, in_progress=(11, 12, 14))
    cut.limit_in_progress(2)
    assert [row["xid"] for row in cut.rows] == [13]
    assert cut.end == FeedOffset(14, (11, 12))
    assert not cut.complete


def test_an_offset_covers_what_it_has_read_and_no_more() -> None:
    assert FeedOffset(20, (15,)).covers(FeedOffset(18, (15, 16)))
    assert not FeedOffset(20, (15,)).covers(FeedOffset(18))
    assert not FeedOffset(20).covers(FeedOffset(21))
    assert FeedOffset(20).covers(FeedOffset(15, (), (15, "00000001")))
    assert not FeedOffset(20, (15,)).covers(FeedOffset(17, (), (15, "00000001")))
