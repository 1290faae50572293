from dataclasses import dataclass

from graphql_api.execution.columns import JoinedRows, Rows, concatenated
from graphql_api.execution.projection import Reference


@dataclass(frozen=True)
class Table:
    column_names: frozenset[str] = frozenset()


TABLE = Table()

COLUMNS = ("a", "b")


def test_rows_are_taken_apart_into_columns() -> None:
    assert Rows([(1, 2), (3, 4)], COLUMNS).table() == {"a": (1, 3), "b": (2, 4)}


def test_no_rows_have_no_columns() -> None:
    assert Rows([], COLUMNS).table() == {}


def test_rows_of_the_same_columns_stay_rows_when_joined() -> None:
    both = concatenated([Rows([(1, 2)], COLUMNS), Rows([], ("a", "b")), Rows([(3, 4)], COLUMNS)])

    assert isinstance(both, Rows)
    assert both.columns == COLUMNS
    assert both == [(1, 2), (3, 4)]


def test_rows_of_other_columns_become_a_list() -> None:
    both = concatenated([Rows([(1, 2)], COLUMNS), Rows([(3, 4)], ("b", "a"))])

    assert type(both) is list
    assert both == [(1, 2), (3, 4)]


def test_rows_and_other_values_become_a_list() -> None:
    assert type(concatenated([Rows([(1, 2)], COLUMNS), [(3, 4)]])) is list


def test_no_lists_at_all_are_a_list() -> None:
    assert concatenated([]) == []


def test_rows_that_were_read_together_keep_what_is_joined_to_them() -> None:
    joined = {Reference("a", TABLE): JoinedRows({1: "one"}, {})}
    both = concatenated([Rows([(1, 2)], COLUMNS, joined), Rows([(3, 4)], COLUMNS, joined)])
    assert isinstance(both, Rows)
    assert both.joined is joined


def test_rows_that_were_read_apart_keep_nothing_of_the_other() -> None:
    lists = [Rows([(n, 2)], COLUMNS, {Reference("a", TABLE): JoinedRows({n: "one"}, {})}) for n in (1, 2)]
    both = concatenated(lists)
    assert isinstance(both, Rows)
    assert both.joined == {}
