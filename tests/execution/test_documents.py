import gc
import re
from unittest.mock import Mock

import pytest
from graphql import Source, Token, build_schema

from graphql_api.execution import documents as module
from graphql_api.execution.analysis import RequestLimits
from graphql_api.execution.documents import Documents, DocumentSource
from graphql_api.execution.errors import RequestError

SCHEMA = build_schema("type Query { hello(name: String): String } type Mutation { write: Int }")


def refused(documents: Documents, text: str) -> RequestError:
    with pytest.raises(RequestError) as error:
        documents.get(text)
    return error.value


def codes(error: RequestError) -> set[str]:
    return {str((each.extensions or {}).get("code")) for each in error.errors}


def test_a_valid_document_is_read_once() -> None:
    documents = Documents(SCHEMA)
    assert documents.get("{ hello }") is documents.get("{ hello }")
    assert (documents.hits, documents.misses) == (1, 1)


def test_a_broken_document_is_refused_each_time_and_not_remembered() -> None:
    documents = Documents(SCHEMA)
    for _ in range(2):
        assert codes(refused(documents, "{ hello")) == {"GRAPHQL_PARSE_FAILED"}
        assert codes(refused(documents, "{ nothing }")) == {"GRAPHQL_VALIDATION_FAILED"}
    assert documents.hits == 0


def test_the_least_recently_used_document_goes_first() -> None:
    memory = Documents(SCHEMA).get("{ hello } # 1").memory
    documents = Documents(SCHEMA, capacity=2 * memory + 1)
    first = documents.get("{ hello } # 1")
    documents.get("{ hello } # 2")
    documents.get("{ hello } # 1")
    documents.get("{ hello } # 3")
    assert documents.get("{ hello } # 1") is first
    documents.get("{ hello } # 2")
    assert documents.misses == 4


def test_a_document_larger_than_all_room_is_read_and_forgotten() -> None:
    documents = Documents(SCHEMA, capacity=5)
    assert documents.get("{ hello }") is not documents.get("{ hello }")


def test_tiny_documents_count_for_the_memory_that_they_take() -> None:
    documents = Documents(SCHEMA, capacity=1_000_000)
    for number in range(1_000):  # 9 KB of text
        documents.get(f"{{a{number}:hello}}")
    assert "{a999:hello}" in documents
    assert "{a800:hello}" not in documents


@pytest.mark.parametrize("text", ["", "a", "\n", "\n\na", "a\r\nb\rc\n\r\n", "one\ntwo\n", "\u2028a\nb"])
def test_locations_are_those_of_graphql(text: str) -> None:
    positions = [at for at in range(len(text) + 1) if text[at - 1 : at + 1] != "\r\n"]
    ours, theirs = DocumentSource(text), Source(text)
    assert [ours.get_location(at) for at in positions] == [theirs.get_location(at) for at in positions]


def test_the_lines_of_a_document_are_found_once_for_all_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = Mock(wraps=re.compile(r"\n"))
    monkeypatch.setattr(module, "_LINE_END", pattern)
    error = refused(Documents(SCHEMA), "{" + "\n" * 5_000 + " ".join(f"x{i}" for i in range(600)) + "}")
    assert len(error.errors) == 100
    assert pattern.finditer.call_count == 1


def test_an_operation_is_found_by_its_name() -> None:
    document = Documents(SCHEMA).get("query A { hello } mutation B { write }")
    assert document.operation("B").definition.operation.value == "mutation"


def test_the_only_operation_needs_no_name() -> None:
    assert Documents(SCHEMA).get("query A { hello }").operation(None).definition.name is not None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("query A { hello } query B { hello }", None),
        ("query A { hello }", "B"),
        ("query A { hello }", ""),
        ("{ hello }", "A"),
    ],
)
def test_a_name_that_does_not_say_which_operation_is_refused(text: str, name: str | None) -> None:
    with pytest.raises(RequestError) as error:
        Documents(SCHEMA).get(text).operation(name)
    assert codes(error.value) == {"OPERATION_RESOLUTION_FAILURE"}


@pytest.mark.parametrize(
    "text", ["", "# nothing", "\ufeff", "fragment A on Query { hello }", "type A { a: Int }"]
)
def test_a_document_without_an_operation_is_refused(text: str) -> None:
    documents = Documents(SCHEMA)
    with pytest.raises(RequestError):
        documents.get(text).operation(None)


def test_characters_are_bounded() -> None:
    documents = Documents(SCHEMA, limits=RequestLimits(characters=20))
    documents.get("{ hello }")
    assert codes(refused(documents, "{ hello }" + " " * 20)) == {"LIMIT_EXCEEDED"}


def test_tokens_are_bounded() -> None:
    documents = Documents(SCHEMA, limits=RequestLimits(tokens=5))
    documents.get("{ hello }")
    assert codes(refused(documents, "{ hello a: hello }")) == {"LIMIT_EXCEEDED"}


def test_errors_are_bounded() -> None:
    documents = Documents(SCHEMA, limits=RequestLimits(errors=10))
    assert len(refused(documents, "{" + " nothing" * 100 + "}").errors) == 10


def test_suggestions_can_be_off() -> None:
    assert "hello" in str(refused(Documents(SCHEMA), "{ hell }"))
    assert "hello" not in str(refused(Documents(SCHEMA, introspection=False), "{ hell }"))


def test_text_with_nul_is_refused() -> None:
    error = refused(Documents(SCHEMA), '{ hello(name: "a\\u0000b") }')
    assert "NUL" in str(error)


def test_limits_come_before_validation() -> None:
    documents = Documents(SCHEMA, limits=RequestLimits(aliases=1))
    assert codes(refused(documents, "{ a: nothing b: nothing }")) == {"LIMIT_EXCEEDED"}


def test_introspection_can_be_off() -> None:
    query = "{ __schema { types { name } } }"
    Documents(SCHEMA).get(query)
    assert codes(refused(Documents(SCHEMA, introspection=False), query)) == {"GRAPHQL_VALIDATION_FAILED"}


@pytest.mark.parametrize("text", ["{}", "query Q {}", "{ hello ...F } fragment F on Query {}", "{ ... {} }"])
def test_selection_sets_may_be_empty_as_of_september_2026(text: str) -> None:
    Documents(SCHEMA).get(text).operation(None)


def test_a_document_that_is_dropped_is_freed_without_a_collection() -> None:
    def tokens() -> int:
        return sum(isinstance(each, Token) for each in gc.get_objects())

    documents = Documents(SCHEMA)
    gc.collect()
    before = tokens()
    documents.get("{ hello }")
    gc.collect()  # what validation has left behind
    assert tokens() > before
    gc.disable()
    try:
        del documents
        assert tokens() == before
    finally:
        gc.enable()
