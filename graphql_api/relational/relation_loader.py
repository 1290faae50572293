"""Lists: which rows of which entity, and a page of them for one parent or for many, in one statement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import asyncpg

from graphql_api.execution.row_batch import Rows
from graphql_api.relational.child_relation import Branch
from graphql_api.relational.context import Reader, Row
from graphql_api.relational.eager_joins import Along, found_in, visible
from graphql_api.relational.filters import EVERYTHING, Shape
from graphql_api.relational.page import Order, Page
from graphql_api.relational.page_query import Sides, count_statement, page_statement


@dataclass(frozen=True, eq=False, slots=True)
class Children(Branch):
    """The rows of a branch, read in batches."""

    async def page(self, db: Reader, keys: Sequence[str], page: Page) -> Mapping[str, "Slice"]:
        """Each parent's page."""
        rows: list[asyncpg.Record] = []
        along: Sequence[Along] = ()
        if self.entity.is_visible_to(db):
            along = page.along if visible(page.along, db) else ()
            wanted = page.order, page.shape, page.read_columns, along, page.counted
            statement = page_statement(self, db.tenant is not None, Sides.of(page), *wanted)
            rows = await db.fetch(statement, **_values(page, keys))
        columns = tuple(rows[0].keys()) if rows else ()
        found = found_in(Rows(rows, columns).table(), along) if along else {}
        rows_of = {key: Rows((), columns, found) for key in keys}
        for parent, its_rows in groupby(rows, itemgetter("_parent")):
            rows_of[parent] += its_rows
        return {key: Slice.of(its_rows, page, self, key) for key, its_rows in rows_of.items()}

    async def count(self, db: Reader, keys: Sequence[str], page: Page) -> Mapping[str, int]:
        """How many rows each parent has under the page's filter."""
        if not self.entity.is_visible_to(db):
            return dict.fromkeys(keys, 0)
        statement = count_statement(self, db.tenant is not None, page.shape)
        rows = await db.fetch(statement, **_values(page, keys))
        return dict.fromkeys(keys, 0) | {row["_parent"]: row["total"] for row in rows}


@dataclass(frozen=True, eq=False, slots=True)
class FirstChild:
    """Of each parent's rows, the first in an order: the latest, the current."""

    children: Children
    order: Order
    shape: Shape = EVERYTHING

    async def __call__(self, db: Reader, keys: Sequence[str], _page: None = None) -> Mapping[str, Row]:
        """Each parent's first row; parents without any are left out."""
        page = Page(self.order, size=1, shape=self.shape)
        slices = await self.children.page(db, keys, page)
        return {key: part.nodes[0] for key, part in slices.items() if part.nodes}


@dataclass(frozen=True, slots=True)
class Slice:
    """One parent's page: its rows in order, and what lies beyond."""

    nodes: list[Row]
    page: Page
    children: Children
    parent: str
    has_next_page: bool
    has_previous_page: bool
    total: int | None
    """How many rows the whole list has, if the page came with it."""

    @classmethod
    def of(cls, rows: Rows, page: Page, children: Children, parent: str) -> "Slice":
        """Cut the extra row that tells whether there is more, and put a backward page in order."""
        more = len(rows) > page.size
        total = rows[0]["_total"] if rows and page.counted else None
        del rows[page.size :]
        if page.backward:
            rows.reverse()
            return cls(rows, page, children, parent, page.before is not None, more, total)
        return cls(rows, page, children, parent, more, page.after is not None, total)


def _values(page: Page, keys: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {**dict(page.values), "keys": list(keys), "fetch": page.size + 1}
    for name, position in (("after", page.after), ("before", page.before)):
        if position is not None:
            values[f"{name}_key"], values[f"{name}_id"] = position
    return values
