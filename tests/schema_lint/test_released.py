"""What breaks clients of the last release is named in the changelog.

`released.graphql` is the schema as it was released last: a release copies schema.graphql there.
"""

import re
from pathlib import Path

import pytest
from graphql import build_schema
from graphql.utilities import BreakingChange, find_breaking_changes

ROOT = Path(__file__).parents[2]


def unreleased() -> str:
    """What the changelog says of the next release."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    return text.split("\n## ")[1]


def names_in(change: BreakingChange) -> list[str]:
    """The types, fields and arguments that a change is about."""
    return re.findall(r"\b[A-Za-z]\w*(?:\.\w+)+|(?<=')\w+(?=')|\b[A-Z]\w+", change.description)


def unnamed(old: str, new: str, changelog: str) -> list[str]:
    """The breaking changes from one schema to another that a changelog doesn't name."""
    named = set(re.findall(r"`([\w.]+)`", changelog))
    return [
        change.description
        for change in find_breaking_changes(build_schema(old), build_schema(new))
        if named.isdisjoint({*names_in(change), *(name.rpartition(".")[2] for name in names_in(change))})
    ]


def test_every_breaking_change_is_named_in_the_changelog() -> None:
    released = (Path(__file__).parent / "released.graphql").read_text("utf-8")
    assert unnamed(released, (ROOT / "schema.graphql").read_text("utf-8"), unreleased()) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("type Trade { pnl: String symbol: String }", "type Trade { symbol: String }"),
        ("type Trade { pnl: Int symbol: Int }", "type Trade { pnl: String symbol: Int }"),
        ("type Trade { pnl(of: Int): Int }", "type Trade { pnl: Int }"),
    ],
)
def test_a_breaking_change_is_found_until_it_is_named(old: str, new: str) -> None:
    old, new = (f"type Query {{ trade: Trade }} {text}" for text in (old, new))
    assert len(unnamed(old, new, "- `Trade.symbol` is faster.")) == 1
    assert unnamed(old, new, "- `Trade.pnl` is gone.") == []
