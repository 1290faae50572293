"""Every error that a client can get has a code, says where in the document it arose, and repeats little."""

import re
from collections.abc import AsyncIterator, Mapping
from enum import Enum
from typing import Any

import orjson
import pytest
import strawberry
from graphql import ASTValidationRule, NoSchemaIntrospectionCustomRule, parse, specified_rules, validate
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from graphql_api.execution.analysis import RequestLimits
from graphql_api.execution.documents import NoNulRule
from graphql_api.execution.errors import MAX_ECHO, MAX_MESSAGE, RequestError
from graphql_api.execution.fields import FromLoader, declared, resolved
from graphql_api.execution.operations import GraphQLRequest, Operations, Result
from graphql_api.execution.persisted_documents import AutomaticDocuments, PersistedDocuments, TrustedDocuments
from graphql_api.execution.subscriptions import Subscriptions
from graphql_api.gateway.errors import mask
from tests.execution.contexts import BareContext


@strawberry.enum
class Size(Enum):
    SMALL = 1


@strawberry.input
class Wish:
    text: str
    size: Size | None = None
    many: list[int] | None = None
    note: strawberry.Maybe[str] = None


@strawberry.input(one_of=True)
class Either:
    name: strawberry.Maybe[str]
    number: strawberry.Maybe[int]


@strawberry.interface
class Animal:
    name: str


@strawberry.type
class Cat(Animal):
    name: str = "Tom"

    @strawberry.field
    def lives(self) -> int:
        raise KeyError("secret")


@strawberry.type
class Stone:
    weight: int = 1


def refuse(_context: Any) -> None:
    raise RuntimeError("secret")


@strawberry.type
class Query:
    number: int = 1
    cat: Cat = strawberry.field(default_factory=Cat)
    cats: list[Cat] = strawberry.field(default_factory=lambda: [Cat()])

    @strawberry.field
    def echo(
        self,
        text: str = "",
        numbers: list[int] | None = None,
        wish: Wish | None = None,
        either: Either | None = None,
    ) -> str:
        return text

    @strawberry.field
    def needs(self, number: int) -> int:
        return number

    @strawberry.field
    def defaults(self, number: int = 1, numbers: list[int] | None = None) -> int:
        return number

    @strawberry.field
    def animal(self) -> Animal:
        return Stone()  # type: ignore[return-value]

    @strawberry.field
    def no_number(self) -> int:
        return "secret"  # type: ignore[return-value]

    @strawberry.field
    def no_list(self) -> list[int]:
        return 5  # type: ignore[return-value]

    @strawberry.field
    def no_cat(self) -> Cat:
        return Stone()  # type: ignore[return-value]

    @strawberry.field
    def nothing(self) -> int:
        return None  # type: ignore[return-value]

    @strawberry.field
    async def late(self) -> int | None:
        raise ValueError("secret")

    loaded: int | None = declared("", FromLoader(lambda _, __: lambda _: 1 // 0))

    @resolved("", check=refuse)
    def guarded(self) -> int | None:
        return 1


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def ticks(self, number: int = 1, fail: bool = False) -> AsyncIterator[int]:
        yield number
        if fail:
            raise ValueError("secret")

    @strawberry.subscription
    async def no_number(self) -> AsyncIterator[int]:
        yield "secret"  # type: ignore[misc]

    @resolved("", check=refuse, subscription=True)
    async def guarded(self) -> AsyncIterator[int]:
        yield 1


SCHEMA = strawberry.Schema(Query, subscription=Subscription, types=[Cat, Stone])
LIMITS = RequestLimits(
    characters=2_000, tokens=400, depth=8, aliases=30, directives=5, root_fields=20, cost=1_000, values=50
)
LONG = "x" * 1_000
SOURCE = '{ __type(name: "A") { ' + "fields { type { " * 5 + "name" + " } }" * 5 + " } }"
DOCUMENTS: Mapping[str, str] = {
    "ExecutableDefinitionsRule": "{ number } type A { a: Int }",
    "KnownOperationTypesRule": "mutation { number }",
    "UniqueOperationNamesRule": "query A { number } query A { number }",
    "LoneAnonymousOperationRule": "{ number } query A { number }",
    "SingleFieldSubscriptionsRule": "subscription { ticks other: ticks }",
    "KnownTypeNamesRule": f"{{ ... on {LONG} {{ name }} }}",
    "FragmentsOnCompositeTypesRule": "{ ... on Int { name } }",
    "VariablesAreInputTypesRule": "query ($a: Cat) { number }",
    "ScalarLeafsRule": "{ number { name } cat }",
    "FieldsOnCorrectTypeRule": f"{{ {LONG} cat {{ {LONG} }} }}",
    "UniqueFragmentNamesRule": "{ ...F } fragment F on Query { number } fragment F on Query { number }",
    "KnownFragmentNamesRule": f"{{ ...{LONG} }}",
    "NoUnusedFragmentsRule": "{ number } fragment F on Query { number }",
    "PossibleFragmentSpreadsRule": "{ cat { ... on Query { number } } }",
    "NoFragmentCyclesRule": "{ ...F } fragment F on Query { ...G } fragment G on Query { ...F }",
    "UniqueVariableNamesRule": "query ($a: Int, $a: Int) { number }",
    "NoUndefinedVariablesRule": "query Q { echo(text: $a) }",
    "NoUnusedVariablesRule": f"query Q(${LONG}: Int) {{ number }}",
    "KnownDirectivesRule": f"{{ number @{LONG} }}",
    "UniqueDirectivesPerLocationRule": "{ number @skip(if: true) @skip(if: false) }",
    "DeferStreamDirectiveOnRootField": "subscription { ... @defer { ticks } }",
    "DeferStreamDirectiveOnValidOperationsRule": "subscription { ... { ticks @stream } }",
    "DeferStreamDirectiveLabel": '{ ... @defer(label: "a") { number } ... @defer(label: "a") { number } }',
    "StreamDirectiveOnListField": "{ number @stream }",
    "KnownArgumentNamesRule": f"{{ number({LONG}: 1) echo(txt: 1) }}",
    "UniqueArgumentNamesRule": '{ echo(text: "a", text: "b") }',
    "ValuesOfCorrectTypeRule": "{ echo(text: null, numbers: [true, null], wish: {text: 5, size: BIG, x: 1})}",
    "ProvidedRequiredArgumentsRule": "{ needs }",
    "VariablesInAllowedPositionRule": "query ($a: String) { needs(number: $a) }",
    "OverlappingFieldsCanBeMergedRule": "{ a: number a: cat { name } }",
    "UniqueInputFieldNamesRule": '{ echo(wish: {text: "a", text: "b"}) }',
    "MaxIntrospectionDepthRule": SOURCE,
    "MaybeNullValidationRule": '{ echo(wish: {text: "a", note: null}) }',
    "OneOfInputValidationRule": '{ echo(either: {name: "a", number: 1}) }',
    "NoNulRule": '{ echo(text: "a\\u0000") }',
    "NoSchemaIntrospectionCustomRule": "{ __schema { types { name } } }",
}
RULES: tuple[type[ASTValidationRule], ...] = (
    *specified_rules,
    MaybeNullValidationRule,
    OneOfInputValidationRule,
    NoNulRule,
    NoSchemaIntrospectionCustomRule,
)
UNPLACED = re.compile("Unknown operation|Must provide|Persisted|persisted|sha|registered|characters|Too many")
"""Errors that are about no place in the document, or about one that wasn't read."""


def service(
    engine: Any = "compiled", persisted: PersistedDocuments | None = None, **options: Any
) -> Operations:
    return Operations(SCHEMA, mask=mask, limits=LIMITS, persisted=persisted, engine=engine, **options)


def assert_well_formed(errors: list[dict[str, Any]]) -> None:
    assert errors
    for error in errors:
        assert error["extensions"]["code"], error
        assert error.get("locations") or UNPLACED.search(error["message"]), error
        assert len(error["message"]) <= MAX_MESSAGE + 1, error
        assert not re.search(rf"\w{{{MAX_ECHO + 1}}}", error["message"]), error
        assert not re.search(r"\bNone\b|Maybe|secret|Traceback|\bobject at\b|<class", error["message"]), error


def refusal(operations: Operations, request: GraphQLRequest) -> list[dict[str, Any]]:
    """What a request is refused with before anything runs."""
    with pytest.raises(RequestError) as refused:
        operations.prepare(request)
    return [orjson.loads(orjson.dumps(error.formatted)) for error in refused.value.errors]


def codes(errors: list[dict[str, Any]]) -> set[str]:
    return {error["extensions"]["code"] for error in errors}


async def answer(operations: Operations, query: str, **variables: Any) -> list[dict[str, Any]]:
    """The errors of an operation that runs."""
    operation = operations.prepare(GraphQLRequest(query, None, variables))
    if operation.type.value == "subscription":
        results = [
            each async for due in Subscriptions(operations).subscribe(operation, BareContext) for each in due
        ]
    else:
        results = [await operations.execute(operation, BareContext())]
    return errors_of(results[-1])


def errors_of(result: Result) -> list[dict[str, Any]]:
    errors: list[dict[str, Any]] = orjson.loads(result.render())["errors"]
    return errors


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{ number",
        "{ number ] }",
        "query query query",
        f"{{ number {LONG} @ }}",
        '{ echo(text: "' + LONG + ") }",
        '{ echo(text: "\\uD800") }',
        "# nothing",
        "{ number(a: " + "[" * 300,
        "\u0000",
        "{ na\u00efve }",
        "{ " + "cat { " * 250,
    ],
)
def test_documents_that_do_not_parse(text: str) -> None:
    if not text:
        assert_well_formed(refusal(service(), GraphQLRequest(text)))
        text = " "
    errors = refusal(service(), GraphQLRequest(text))
    assert_well_formed(errors)
    assert codes(errors) <= {"GRAPHQL_PARSE_FAILED", "LIMIT_EXCEEDED"}


def test_each_rule_has_a_document_that_breaks_it() -> None:
    assert sorted(DOCUMENTS) == sorted(rule.__name__ for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_documents_that_break_a_rule(rule: type[ASTValidationRule]) -> None:
    text = DOCUMENTS[rule.__name__]
    assert validate(SCHEMA._schema, parse(text), [rule]), "it doesn't break the rule"
    introspection = rule is not NoSchemaIntrospectionCustomRule
    for operations in (service(introspection=introspection), service(introspection=False)):
        errors = refusal(operations, GraphQLRequest(text))
        assert_well_formed(errors)
        assert codes(errors) <= {"GRAPHQL_VALIDATION_FAILED", "LIMIT_EXCEEDED"}


@pytest.mark.parametrize(
    "text",
    [
        "{ number } # " + LONG * 2,
        "{" + " number" * 500 + "}",
        "{ " + " ".join(f"a{n}: number" for n in range(40)) + " }",
        "{ a: cats { name } " + " ".join(f"b{n}: cats {{ name }}" for n in range(28)) + " }",
        "{ number " + "@skip(if: false) " * 6 + "}",
        "{ " + " number" * 21 + " }",
        "{ " + "... { " * 150 + "number" + " }" * 151,
        " ".join(f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(60)),
    ],
)
def test_documents_beyond_a_limit(text: str) -> None:
    errors = refusal(service(), GraphQLRequest(text))
    assert_well_formed(errors)


def test_what_a_limit_is_about_is_named_by_its_code_and_place() -> None:
    deep = "{ " + "cat { friend { " * 3 + "name" + " } }" * 3 + " }"
    errors = refusal(Operations(SCHEMA, mask=mask, limits=RequestLimits(depth=2)), GraphQLRequest(deep))
    assert codes(errors) == {"LIMIT_EXCEEDED"}
    assert errors[0]["locations"] == [{"line": 1, "column": 1}]
    many = refusal(
        Operations(SCHEMA, mask=mask, limits=RequestLimits(cost=1)), GraphQLRequest("{ cats { name } }")
    )
    assert codes(many) == {"LIMIT_EXCEEDED"}
    assert many[0]["locations"] == [{"line": 1, "column": 1}]


@pytest.mark.parametrize("name", [None, "", "C", LONG, "x y", "None"])
def test_operations_that_cannot_be_found(name: str | None) -> None:
    request = GraphQLRequest("query A { number } query B { number }", operation_name=name)
    with pytest.raises(RequestError) as refused:
        service().prepare(request)
    (error,) = refused.value.errors
    assert (error.extensions or {})["code"] == "OPERATION_RESOLUTION_FAILURE"
    assert len(error.message) < 2 * MAX_ECHO


@pytest.mark.parametrize(
    ("persisted", "request_"),
    [
        (None, {"query": ""}),
        (AutomaticDocuments(100), {"query": "", "extensions": {"persistedQuery": 5}}),
        (AutomaticDocuments(100), {"query": "", "extensions": {"persistedQuery": {"version": 1}}}),
        (
            AutomaticDocuments(100),
            {"query": "", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}},
        ),
        (
            AutomaticDocuments(100),
            {"query": "{ number }", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}},
        ),
        (TrustedDocuments({}), {"query": "{ number }"}),
        (TrustedDocuments({}), {"query": ""}),
    ],
)
def test_documents_that_are_not_kept_here(
    persisted: PersistedDocuments | None, request_: dict[str, Any]
) -> None:
    assert_well_formed(refusal(service(persisted=persisted), GraphQLRequest(**request_)))


DEEP: Any = 1
for _ in range(60):
    DEEP = [DEEP]


@pytest.mark.parametrize("engine", ["compiled", "stock"])
@pytest.mark.parametrize(
    ("definitions", "selection", "variables"),
    [
        ("$n: Int!", "needs(number: $n)", {}),
        ("$n: Int!", "needs(number: $n)", {"n": None}),
        ("$n: Int!", "needs(number: $n)", {"n": "one"}),
        ("$n: Int!", "needs(number: $n)", {"n": 2**40}),
        ("$n: Int!", "needs(number: $n)", {"n": LONG}),
        ("$n: Int!", "needs(number: $n)", {"n": {"a": None}}),
        ("$n: [Int!]", "echo(numbers: $n)", {"n": [1, None]}),
        ("$n: [Int!]", "echo(numbers: $n)", {"n": [[1]]}),
        ("$w: Wish", "echo(wish: $w)", {"w": {}}),
        ("$w: Wish", "echo(wish: $w)", {"w": {"text": None}}),
        ("$w: Wish", "echo(wish: $w)", {"w": {"text": "a", "size": "BIG", LONG: None}}),
        ("$w: Wish", "echo(wish: $w)", {"w": {"text": "a", "note": None}}),
        ("$w: Wish!", "echo(wish: $w)", {"w": None}),
        ("$e: Either", "echo(either: $e)", {"e": {"name": "a", "number": 1}}),
        ("$e: Either", "echo(either: $e)", {"e": {"name": None}}),
        ("$e: Either", "echo(either: $e)", {"e": {}}),
        ("$s: String!", "echo(either: {name: $s})", {"s": None}),
        # Only the value of the variable shows that these are wrong.
        ("$n: Int = 1", "defaults(number: $n)", {"n": None}),
        ("$n: Int", "defaults(number: $n)", {"n": None}),
        ("$n: Int = 1", "defaults(numbers: [1, $n])", {"n": None}),
        ('$s: String = "a"', "echo(wish: {text: $s})", {"s": None}),
    ],
)
async def test_variables_that_are_wrong(
    engine: str, definitions: str, selection: str, variables: dict[str, Any]
) -> None:
    errors = await answer(service(engine), f"query ({definitions}) {{ {selection} }}", **variables)
    assert_well_formed(errors)
    assert codes(errors) == {"BAD_USER_INPUT"}


@pytest.mark.parametrize("variables", [{"n": DEEP}, {"n": list(range(60))}, {"n": [[1] * 30] * 3}])
def test_variables_that_are_too_much(variables: dict[str, Any]) -> None:
    errors = refusal(service(), GraphQLRequest("query ($n: [Int!]) { echo(numbers: $n) }", None, variables))
    assert_well_formed(errors)
    assert codes(errors) == {"LIMIT_EXCEEDED"}


@pytest.mark.parametrize("levels", [150, 250, 300, 5000])
@pytest.mark.parametrize("variables", ["$n: [Int!]", "$n: Wish"])
def test_variables_that_are_nested_beyond_the_stack(levels: int, variables: str) -> None:
    deep: Any = 1
    for _ in range(levels):
        deep = [deep] if "Int" in variables else {"text": deep}
    operations = Operations(SCHEMA, mask=mask)
    argument = "numbers" if "Int" in variables else "wish"
    query = f"query ({variables}) {{ echo({argument}: $n) }}"
    errors = refusal(operations, GraphQLRequest(query, None, {"n": deep}))
    assert_well_formed(errors)
    assert codes(errors) == {"LIMIT_EXCEEDED"}


@pytest.mark.parametrize("engine", ["compiled", "stock"])
@pytest.mark.parametrize(
    "query",
    [
        "{ cat { lives } }",
        "{ cats { lives } }",
        "{ animal { name } }",
        "{ noNumber }",
        "{ noList }",
        "{ noCat { name } }",
        "{ nothing }",
        "{ late }",
        "{ loaded }",
        "{ guarded }",
        "subscription { ticks(fail: true) }",
        "subscription { noNumber }",
        "subscription { guarded }",
    ],
)
async def test_what_goes_wrong_while_an_operation_runs(engine: str, query: str) -> None:
    errors = await answer(service(engine), query)
    assert_well_formed(errors)
    assert codes(errors) == {"INTERNAL_SERVER_ERROR"}
    assert all(error["path"] for error in errors)
    assert all(error["extensions"]["incident"] in error["message"] for error in errors)


@pytest.mark.parametrize("engine", ["compiled", "stock"])
@pytest.mark.parametrize("variables", [{"n": None}, {"n": "one"}, {}])
async def test_a_subscription_whose_arguments_are_wrong(engine: str, variables: dict[str, Any]) -> None:
    definition = "$n: Int!" if not variables else "$n: Int = 1"
    errors = await answer(
        service(engine), f"subscription ({definition}) {{ ticks(number: $n) }}", **variables
    )
    assert_well_formed(errors)
    assert codes(errors) == {"BAD_USER_INPUT"}
