from graphql_api.execution.columns import Rows, concatenated

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
