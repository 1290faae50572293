from typing import Any

import pytest
from graphql import build_schema, get_introspection_query, parse

from graphql_api.execution.documents import Documents, RequestError
from graphql_api.execution.limits import DocumentLimits, Size, check_values

SCHEMA = build_schema("""
    type Query { me: User, also: User }
    type User { id: ID!, friend: User, friends(first: Int): UserConnection! }
    type UserConnection { edges: [UserEdge!]!, nodes: [User!]! }
    type UserEdge { node: User! }
""")

ROOMY = DocumentLimits(depth=1000, aliases=1000, directives=1000, root_fields=1000)


def refused(text: str, **limits: int) -> list[dict[str, Any]]:
    """What the limits say of a document: for each that it exceeds, its name, maximum and number."""
    chosen = {"depth": 1000, "aliases": 1000, "directives": 1000, "root_fields": 1000} | limits
    errors = DocumentLimits(**chosen)(parse(text))
    assert all((error.extensions or {}).pop("code") == "LIMIT_EXCEEDED" for error in errors)
    return [dict(error.extensions or {}) for error in errors]


def exceeded(limit: str, maximum: int, actual: int) -> list[dict[str, Any]]:
    return [{"limit": limit, "maximum": maximum, "actual": actual}]


@pytest.mark.parametrize(
    ("document", "depth"),
    [
        ("{ me { id } }", 2),
        ("{ me { friend { friend { id } } } }", 4),
        ("{ me { ... { friend { ... on User { id } } } } }", 3),
        ("{ me { ...F } } fragment F on User { friend { id } }", 3),
        ("{ me { friends { nodes { id } } } }", 3),
        ("{ me { friends { edges { node { id } } } } }", 3),
        ("query A { me { id } } query B { me { friend { id } } }", 3),
    ],
)
def test_depth_counts_levels_of_fields_but_not_the_form_of_lists(document: str, depth: int) -> None:
    assert refused(document, depth=depth) == []
    assert refused(document, depth=depth - 1) == exceeded("depth", depth - 1, depth)


@pytest.mark.parametrize(
    ("document", "aliases"),
    [
        ("{ a: me { b: id c: id } }", 3),
        ("{ me { ...F } also { ...F } } fragment F on User { a: id b: id }", 4),
        ("{ me { ...F } } fragment F on User { ...G ...G } fragment G on User { a: id }", 2),
    ],
)
def test_aliases_count_each_time_their_fragment_is_spread(document: str, aliases: int) -> None:
    assert refused(document, aliases=aliases) == []
    assert refused(document, aliases=aliases - 1) == exceeded("aliases", aliases - 1, aliases)


@pytest.mark.parametrize(
    ("document", "directives"),
    [
        ("{ me { id @skip(if: false) @include(if: true) } }", 2),
        ("query ($v: Boolean @b) @a { me @c { ... @d { id } ...F @e } } fragment F on User @f { id @g }", 7),
        ("{ me { ...F } also { ...F } } fragment F on User { id @a }", 2),
    ],
)
def test_directives_count_wherever_they_stand(document: str, directives: int) -> None:
    assert refused(document, directives=directives) == []
    assert refused(document, directives=directives - 1) == exceeded("directives", directives - 1, directives)


def test_root_fields_count_each_time_their_fragment_is_spread() -> None:
    document = "{ me { id } ...F ...F } fragment F on Query { also { id } }"
    assert refused(document, root_fields=3) == []
    assert refused(document, root_fields=2) == exceeded("root fields", 2, 3)


def test_every_limit_that_is_exceeded_is_named() -> None:
    found = refused("{ a: me { b: friend { c: id } } }", depth=2, aliases=2)
    assert [each["limit"] for each in found] == ["depth", "aliases"]


def test_the_message_names_the_limit_and_both_numbers() -> None:
    (error,) = DocumentLimits(depth=2, aliases=30, directives=50, root_fields=20)(
        parse("{ me { friend { id } } }")
    )
    assert error.message == "depth: 3, more than the limit of 2"


@pytest.mark.parametrize(
    "document",
    [
        "{ me { ...A } } fragment A on User { ...A }",
        "{ me { ...A } } fragment A on User { ...B } fragment B on User { friend { ...A } }",
    ],
)
def test_a_fragment_within_itself_is_refused(document: str) -> None:
    (error,) = ROOMY(parse(document))
    assert error.message == "Cannot spread fragment 'A' within itself."


def doubling(fragments: int, leaf: str) -> str:
    parts = [f"fragment F{i} on User {{ ...F{i + 1} ...F{i + 1} }}" for i in range(fragments)]
    return f"{{ me {{ ...F0 }} }} {' '.join(parts)} fragment F{fragments} on User {{ {leaf} }}"


def test_fragments_that_double_are_measured_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Size] = []

    def size(*given: int, **named: int) -> Size:
        made.append(Size(*given, **named))
        return made[-1]

    monkeypatch.setattr("graphql_api.execution.limits.Size", size)
    (error,) = DocumentLimits(depth=10, aliases=30, directives=50, root_fields=20)(
        parse(doubling(100, "a: id"))
    )
    assert error.message == "aliases: more than the limit of 30"
    assert len(made) < 400


def test_a_document_too_deep_for_the_interpreter_is_refused() -> None:
    parts = [f"fragment F{i} on User {{ ...F{i + 1} }}" for i in range(5000)]
    document = f"{{ me {{ ...F0 }} }} {' '.join(parts)} fragment F5000 on User {{ id }}"
    (error,) = ROOMY(parse(document))
    assert error.message == "the document is nested too deeply to be measured"


@pytest.mark.parametrize("descriptions", [True, False])
def test_what_explorers_ask_of_a_schema_passes_the_default_limits(descriptions: bool) -> None:
    query = get_introspection_query(
        descriptions, schema_description=True, specified_by_url=True, input_value_deprecation=True
    )
    guard = DocumentLimits(depth=10, aliases=30, directives=50, root_fields=20)
    Documents(SCHEMA, guard=guard).get(query)


def errors_of(text: str, **options: Any) -> dict[str, Any]:
    with pytest.raises(RequestError) as refusal:
        Documents(SCHEMA, **options).get(text)
    (error,) = refusal.value.errors
    return {"message": error.message, **(error.extensions or {})}


def test_a_document_with_too_many_characters_is_not_even_parsed() -> None:
    assert errors_of("{ me { id", max_characters=5) == {
        "message": "characters: 9, more than the limit of 5",
        "code": "LIMIT_EXCEEDED",
        "limit": "characters",
        "maximum": 5,
        "actual": 9,
    }


def test_a_document_with_too_many_tokens_is_parsed_no_further() -> None:
    assert errors_of("{ me { id } }" + "}" * 100, max_tokens=5) == {
        "message": "tokens: more than the limit of 5",
        "code": "LIMIT_EXCEEDED",
        "limit": "tokens",
        "maximum": 5,
    }


def test_a_document_of_endless_comparisons_is_validated_no_further() -> None:
    assert errors_of("{" + "me { id friend { id } } " * 220 + "}") == {
        "message": "validation steps: more than the limit of 30000",
        "code": "LIMIT_EXCEEDED",
        "limit": "validation steps",
        "maximum": 30000,
    }


def test_fifty_fragments_side_by_side_are_validated() -> None:
    parts = [f"fragment F{i} on User {{ id friend {{ id }} }}" for i in range(50)]
    spreads = " ".join(f"...F{i}" for i in range(50))
    Documents(SCHEMA).get(f"{{ me {{ {spreads} }} }} {' '.join(parts)}")


def test_a_refused_document_lists_only_so_many_errors() -> None:
    with pytest.raises(RequestError) as refusal:
        Documents(SCHEMA, max_errors=5).get("{" + " ".join(f"x{i}" for i in range(100)) + "}")
    assert len(refusal.value.errors) == 5
    assert refusal.value.errors[-1].message.startswith("Too many validation errors")


@pytest.mark.parametrize(
    ("variables", "values"),
    [({}, 0), ({"a": 1, "b": None}, 2), ({"a": [1, 2, 3]}, 4), ({"a": {"b": {"c": [{}, {"d": "text"}]}}}, 6)],
)
def test_values_are_counted_at_all_levels(variables: dict[str, Any], values: int) -> None:
    assert check_values(variables, values) is None
    if values:
        error = check_values(variables, values - 1)
        assert error is not None
        assert error.message == f"values in variables: more than the limit of {values - 1}"


def test_variables_have_only_so_many_levels() -> None:
    variables: dict[str, Any] = {}
    for _ in range(100):
        variables = {"a": variables}
    error = check_values(variables, 10_000)
    assert error is not None
    assert error.message == "levels of variables: more than the limit of 100"
    assert check_values(variables["a"], 10_000) is None
