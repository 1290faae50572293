"""The page tells of what is tested, and of nothing else."""

from tests.clients.page import PAGE, ROOT, modules
from tests.clients.table import ROWS, with_table


def test_the_table_is_in_step_with_what_is_locked() -> None:
    """Written by `python -m tests.clients.table`."""
    page = PAGE.read_text("utf-8")
    assert with_table(page) == page
    assert all(row.client in page for row in ROWS)


def test_the_tests_that_the_table_names_exist() -> None:
    for row in ROWS:
        for test in row.tests:
            assert (ROOT / test).exists()


def test_every_module_of_the_page_is_imported_by_a_test() -> None:
    folder = ROOT / "tests" / "clients"
    sources = "".join(
        path.read_text("utf-8") for path in (*folder.glob("*.py"), *folder.glob("javascript/*.mjs"))
    )
    assert modules()
    for name in modules():
        assert name in sources, name
