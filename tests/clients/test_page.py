"""The page's table is up to date, and its blocks of code are those that tests run."""

import re

from graphql import build_schema, parse
from graphql.type import is_scalar_type

from graphql_api.schema import schema_text
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


def test_what_phones_are_told_is_in_the_schema() -> None:
    """The generators for phones aren't run here, but the names in their settings exist in the schema."""
    text = schema_text()
    schema, page = build_schema(text), PAGE.read_text("utf-8")
    mapped = set(re.findall(r'mapScalar\("(\w+)"', page)) | set(re.findall(r"`(\w+)` as `String`", page))
    assert mapped
    for name in mapped:
        assert is_scalar_type(schema.get_type(name)), name
    [extension] = re.findall(r"`(extend interface \w+) @typePolicy\(keyFields: \"id\"\)`", page)
    directive = "directive @typePolicy(keyFields: String!) on INTERFACE | OBJECT"
    assert parse(f'{directive} {extension} @typePolicy(keyFields: "id")')
    assert "id" in schema.type_map[extension.split()[-1]].fields  # type: ignore[attr-defined]
