from typing import Any

import pytest
from graphql import OperationDefinitionNode, build_schema, get_introspection_query, parse

from graphql_api.execution.analysis import (
    MAX_NESTING,
    FragmentCycleError,
    NestingError,
    OperationAnalysis,
    RequestLimits,
    Size,
    _Walk,
    analyze,
    exceeded,
)
from graphql_api.execution.documents import Documents
from graphql_api.execution.errors import RequestError

SCHEMA = build_schema("""
    type Query { me: User, also: User }
    type User { id: ID!, friend: User, friends(first: Int): UserConnection! }
    type UserConnection { edges: [UserEdge!]!, nodes: [User!]! }
    type UserEdge { node: User! }
""")


def analyses(text: str) -> list[tuple[OperationDefinitionNode, OperationAnalysis]]:
    return analyze(parse(text), SCHEMA, {})


def analysis(text: str) -> OperationAnalysis:
    ((_, found),) = analyses(text)
    return found


def refused(text: str, **limits: int) -> list[dict[str, Any]]:
    """What the limits say of a document: for each that it exceeds, its name, maximum and number."""
    errors = [
        error
        for definition, found in analyses(text)
        for error in exceeded(found, RequestLimits(**limits), definition)
    ]
    assert all(error.locations for error in errors)
    assert all((error.extensions or {}).pop("code") == "LIMIT_EXCEEDED" for error in errors)
    return [dict(error.extensions or {}) for error in errors]


def report(limit: str, maximum: int, actual: int) -> list[dict[str, Any]]:
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
    assert refused(document, depth=depth - 1) == report("depth", depth - 1, depth)


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
    assert refused(document, aliases=aliases - 1) == report("aliases", aliases - 1, aliases)


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
    assert refused(document, directives=directives - 1) == report("directives", directives - 1, directives)


def test_root_fields_count_each_time_their_fragment_is_spread() -> None:
    document = "{ me { id } ...F ...F } fragment F on Query { also { id } }"
    assert refused(document, root_fields=3) == []
    assert refused(document, root_fields=2) == report("root fields", 2, 3)


def test_every_limit_that_is_exceeded_is_named() -> None:
    found = refused("{ a: me { b: friend { c: id } } }", depth=2, aliases=2)
    assert [each["limit"] for each in found] == ["depth", "aliases"]


def test_the_message_names_the_limit_and_both_numbers() -> None:
    ((definition, found),) = analyses("{ me { friend { id } } }")
    (error,) = exceeded(found, RequestLimits(depth=2), definition)
    assert error.message == "depth: 3, more than the limit of 2"


@pytest.mark.parametrize(
    "document",
    [
        "{ me { ...A } } fragment A on User { ...A }",
        "{ me { ...A } } fragment A on User { ...B } fragment B on User { friend { ...A } }",
    ],
)
def test_a_fragment_within_itself_is_refused(document: str) -> None:
    with pytest.raises(FragmentCycleError) as error:
        analyses(document)
    assert error.value.message == "Cannot spread fragment 'A' within itself."
    assert error.value.locations


def doubling(fragments: int, leaf: str) -> str:
    parts = [f"fragment F{i} on User {{ ...F{i + 1} ...F{i + 1} }}" for i in range(fragments)]
    return f"{{ me {{ ...F0 }} }} {' '.join(parts)} fragment F{fragments} on User {{ {leaf} }}"


def test_fragments_that_double_are_walked_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    walked = 0
    walk = _Walk._selections

    def count(*args: Any, **options: Any) -> Size:
        nonlocal walked
        walked += 1
        return walk(*args, **options)

    monkeypatch.setattr(_Walk, "_selections", count)
    document = doubling(100, "a: id")
    assert analysis(document).size.aliases == 2**100
    assert walked <= document.count("{")
    assert refused(document, aliases=30) == [{"limit": "aliases", "maximum": 30}]


def nested(levels: int) -> list[str]:
    """Documents of so many selection sets within each other, in all the ways there are."""
    chain = " ".join(f"fragment F{n} on User {{ ...F{n + 1} }}" for n in range(levels - 3))
    half = levels // 2
    return [
        "{ me { " + "friend { " * (levels - 2) + "id" + " }" * levels,
        "{ me " + "{ ... " * (levels - 2) + "{ id }" + " }" * (levels - 1),
        f"{{ me {{ ...F0 }} }} {chain} fragment F{levels - 3} on User {{ id }}",
        # A fragment that is walked first where it isn't deep.
        f"{{ me {{ ...F {'friend { ' * (half - 2)} ...F {' }' * half} fragment F on User {{ "
        + "friend { " * (levels - half - 1)
        + "id"
        + " }" * (levels - half),
    ]


@pytest.mark.parametrize("shape", range(4))
def test_selections_may_be_nested_so_many_levels_and_no_more(shape: int) -> None:
    Documents(SCHEMA).get(nested(MAX_NESTING)[shape])
    with pytest.raises(RequestError) as refusal:
        Documents(SCHEMA).get(nested(MAX_NESTING + 1)[shape])
    (error,) = refusal.value.errors
    assert error.locations
    assert error.message in (
        f"nesting: more than the limit of {MAX_NESTING}",
        "Syntax Error: Document is nested too deeply. Parsing aborted.",
    )


def test_endless_nesting_is_not_followed() -> None:
    with pytest.raises(NestingError):
        analyses(nested(5000)[2])


def test_the_root_fields_are_those_of_fragments_too() -> None:
    document = "{ me { also: friend { id } } ... { ...F ...F } } fragment F on Query { a: also { id } ...G }"
    found = analysis(f"{document} fragment G on Query {{ me {{ id }} }}")
    assert [(node.alias or node.name).value for node in found.root_fields] == ["me", "a", "me"]


def test_conditions_are_the_variables_of_skip_and_include_at_all_levels() -> None:
    found = analysis("""
        query ($a: Boolean! $b: Boolean! $c: Boolean! $n: Int) {
          me @skip(if: $a) { friends(first: $n) { nodes { ...F @include(if: $b) } } }
        }
        fragment F on User { id @skip(if: $c) @include(if: true) }
    """)
    assert found.conditions == ("a", "b", "c")


@pytest.mark.parametrize(
    ("selections", "names"),
    [
        ("me { friends(first: $a) { nodes { id } } }", {"a"}),
        ("me(x: $a, y: [{z: $b}]) { id }", set()),
        ("me(x: $a) @skip(if: $b) { id }", {"b"}),
        ("me { id(x: [{y: [$a]}, $b]) }", {"a", "b"}),
        ("...R", set()),
        ("...R me { ...U }", {"b"}),
        ("... { me(x: $a) { friend { ...U } } }", {"b"}),
    ],
)
def test_results_depend_on_all_variables_but_those_of_root_arguments(
    selections: str, names: set[str]
) -> None:
    fragments = "fragment R on Query { also(x: $a) { id } } fragment U on User { id(x: $b) }"
    assert analysis(f"query Q {{ {selections} }} {fragments}").result_variables == names


def test_a_fragment_at_the_root_and_below_counts_as_below() -> None:
    fragment = "fragment F on Query { me(x: $a) { id } }"
    assert analysis(f"{{ ...F also {{ ...F }} }} {fragment}").result_variables == {"a"}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{ me { id @skip(if: true) } }", None),
        ("{ me { __typename } }", None),
        ("{ __schema { types { name } } }", None),
        ("query @a { me { id } }", "directive"),
        ("{ me { ...F } } fragment F on User { id @a }", "directive"),
    ],
)
def test_what_cannot_be_compiled_has_its_reason(document: str, reason: str | None) -> None:
    assert analysis(document).stock_reason == reason


def test_each_operation_has_an_analysis_of_its_own() -> None:
    first, second = analyses("query A { me { id } } query B { ...F } fragment F on Query { me { a: id } }")
    assert [found.size.aliases for _, found in (first, second)] == [0, 1]


@pytest.mark.parametrize("descriptions", [True, False])
def test_what_explorers_ask_of_a_schema_passes_the_default_limits(descriptions: bool) -> None:
    query = get_introspection_query(
        descriptions, schema_description=True, specified_by_url=True, input_value_deprecation=True
    )
    limits = RequestLimits(depth=10, aliases=30, directives=50, root_fields=20)
    Documents(SCHEMA, limits=limits).get(query)


def test_operations_that_share_fragments_are_bounded_together() -> None:
    chain = "".join(f"fragment F{n} on Query {{ ...F{n + 1} }} " for n in range(99))
    chain += "fragment F99 on Query { __typename }"

    def spreading(operations: int) -> str:
        return "".join(f"query Q{n} {{ ...F0 }} " for n in range(operations)) + chain

    Documents(SCHEMA, limits=RequestLimits(tokens=10_000)).get(spreading(38))
    assert errors_of(spreading(39), tokens=10_000) == {
        "message": "selections of all operations: more than the limit of 5000",
        "code": "LIMIT_EXCEEDED",
        "limit": "selections of all operations",
        "maximum": 5_000,
    }


def errors_of(text: str, **limits: int) -> dict[str, Any]:
    with pytest.raises(RequestError) as refusal:
        Documents(SCHEMA, limits=RequestLimits(**limits)).get(text)
    (error,) = refusal.value.errors
    return {"message": error.message, **(error.extensions or {})}


def test_a_document_with_too_many_characters_is_not_even_parsed() -> None:
    assert errors_of("{ me { id", characters=5) == {
        "message": "characters: 9, more than the limit of 5",
        "code": "LIMIT_EXCEEDED",
        "limit": "characters",
        "maximum": 5,
        "actual": 9,
    }


def test_a_document_with_too_many_tokens_is_parsed_no_further() -> None:
    assert errors_of("{ me { id } }" + "}" * 100, tokens=5) == {
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
        Documents(SCHEMA, limits=RequestLimits(errors=5)).get(
            "{" + " ".join(f"x{i}" for i in range(100)) + "}"
        )
    assert len(refusal.value.errors) == 5
    assert refusal.value.errors[-1].message.startswith("Too many validation errors")
