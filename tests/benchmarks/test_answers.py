"""Answers of two servers are compared by their data, not by their names and notations."""

import json
from typing import Any

import pytest

from benchmarks.answers import DifferentAnswersError, normalised, require_same


def data_of(server: str, data: Any) -> Any:
    return normalised(server, json.dumps({"data": data}).encode())


def test_numbers_and_times_are_equal_however_they_are_written() -> None:
    ours = data_of("ours", {"pnl": "1.50000000", "at": "2026-11-22T09:00:00.500000Z"})
    theirs = data_of("mercurius", {"pnl": "1.5", "at": "2026-11-22T10:00:00.5+01:00"})

    require_same("page", "ours", ours, "mercurius", theirs)


def test_a_peers_own_names_and_wrappers_are_no_difference() -> None:
    ours = data_of("ours", {"viewer": {"user": {"id": "a", "accounts": {"nodes": [{"id": "b"}]}}}})
    theirs = data_of(
        "postgraphile",
        {"userByRowId": {"rowId": "a", "tradelockerAccountsByUserId": {"nodes": [{"rowId": "b"}]}}},
    )

    require_same("small", "ours", ours, "postgraphile", theirs)


def test_another_value_is_a_difference_and_its_place_is_named() -> None:
    ours = data_of("ours", {"trades": [{"pnl": "1"}, {"pnl": "2"}]})
    theirs = data_of("mercurius", {"trades": [{"pnl": "1"}, {"pnl": "3"}]})

    with pytest.raises(DifferentAnswersError, match=r"page\.trades\.1\.pnl: 2 and 3"):
        require_same("page", "ours", ours, "mercurius", theirs)


def test_a_missing_row_is_a_difference() -> None:
    ours = data_of("ours", {"trades": ["a", "b"]})
    theirs = data_of("mercurius", {"trades": ["a"]})

    with pytest.raises(DifferentAnswersError, match=r"page\.trades"):
        require_same("page", "ours", ours, "mercurius", theirs)


def test_an_answer_with_errors_counts_for_nothing() -> None:
    with pytest.raises(DifferentAnswersError, match="no such field"):
        normalised("ours", b'{"data": {"a": 1}, "errors": [{"message": "no such field"}]}')
