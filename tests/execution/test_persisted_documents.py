from typing import Any

import pytest
import strawberry
from graphql import GraphQLError

from graphql_api.execution.errors import RequestError
from graphql_api.execution.operations import GraphQLRequest, Operations
from graphql_api.execution.persisted_documents import (
    ENTRY_SIZE,
    AutomaticDocuments,
    NoPersistedDocuments,
    PersistedDocuments,
    TrustedDocuments,
    hash_of,
)


@strawberry.type
class Query:
    hello: str = "world"


SCHEMA = strawberry.Schema(Query)
HELLO = "{ hello }"
OTHER = "{ other: hello }"


def mask(error: GraphQLError) -> GraphQLError:
    return error


def operations(persisted: PersistedDocuments | None = None) -> Operations:
    return Operations(SCHEMA, mask=mask, persisted=persisted)


def named(text: str, name: str | None = None, **values: Any) -> GraphQLRequest:
    """A request that names a document, and brings its text unless that is empty."""
    persisted = {"version": 1, "sha256Hash": name or hash_of(text)} | values
    return GraphQLRequest(text, extensions={"persistedQuery": persisted})


def only_named(text: str) -> GraphQLRequest:
    return named("", hash_of(text))


def refusal(operations: Operations, request: GraphQLRequest) -> tuple[str, str]:
    """The code and the sentence a request is refused with."""
    with pytest.raises(RequestError) as error:
        operations.prepare(request)
    (reason,) = error.value.errors
    return (reason.extensions or {})["code"], reason.message


NOT_FOUND = ("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")


def test_a_document_that_came_with_its_name_is_found_by_it() -> None:
    service = operations(AutomaticDocuments(1000))
    assert refusal(service, only_named(HELLO)) == NOT_FOUND
    service.prepare(named(HELLO))
    assert service.prepare(only_named(HELLO)).parsed is service.prepare(named(HELLO)).parsed


def test_names_may_be_in_capitals() -> None:
    service = operations(AutomaticDocuments(1000))
    service.prepare(named(HELLO, hash_of(HELLO).upper()))
    service.prepare(only_named(HELLO))


def test_a_document_without_a_name_is_run_and_not_kept() -> None:
    service = operations(AutomaticDocuments(1000))
    service.prepare(GraphQLRequest(HELLO))
    assert refusal(service, only_named(HELLO)) == NOT_FOUND


def test_a_name_of_another_document_is_refused() -> None:
    service = operations(AutomaticDocuments(1000))
    mismatch = ("PERSISTED_QUERY_HASH_MISMATCH", "provided sha does not match query")
    assert refusal(service, named(HELLO, hash_of(OTHER))) == mismatch
    assert refusal(service, only_named(OTHER)) == NOT_FOUND


@pytest.mark.parametrize("text", ["{ nothing }", "{ hello", "{ ...F } fragment F on Query { ...F }"])
def test_a_document_that_is_refused_is_not_kept(text: str) -> None:
    documents = AutomaticDocuments(1000)
    refusal(operations(documents), named(text))
    assert len(documents) == 0


def test_the_least_recently_used_is_forgotten_first() -> None:
    service = operations(AutomaticDocuments(2 * ENTRY_SIZE + len(HELLO + OTHER)))
    for request in (named(HELLO), named(OTHER), only_named(HELLO), named("{ third: hello }")):
        service.prepare(request)
    assert refusal(service, only_named(OTHER)) == NOT_FOUND


@pytest.mark.parametrize(
    ("persisted", "sentence"),
    [
        ("yes", "extensions.persistedQuery: must have version 1"),
        ({}, "extensions.persistedQuery: must have version 1"),
        ({"version": 2, "sha256Hash": hash_of(HELLO)}, "extensions.persistedQuery: must have version 1"),
        (
            {"version": 1, "sha256Hash": 5},
            "extensions.persistedQuery.sha256Hash: must have 64 hexadecimal digits",
        ),
        ({"version": 1}, "extensions.persistedQuery.sha256Hash: must have 64 hexadecimal digits"),
    ],
)
def test_what_is_no_name_is_refused(persisted: Any, sentence: str) -> None:
    request = GraphQLRequest(HELLO, extensions={"persistedQuery": persisted})
    assert refusal(operations(AutomaticDocuments(1000)), request) == ("BAD_REQUEST", sentence)


def test_where_nothing_is_kept_clients_are_told_to_stop_asking() -> None:
    service = operations(NoPersistedDocuments())
    service.prepare(named(HELLO))
    assert refusal(service, only_named(HELLO)) == (
        "PERSISTED_QUERY_NOT_SUPPORTED",
        "PersistedQueryNotSupported",
    )


@pytest.mark.parametrize("request_", [GraphQLRequest(HELLO), named(HELLO), only_named(HELLO)])
def test_a_registered_document_is_run_by_its_text_and_by_its_name(request_: GraphQLRequest) -> None:
    operations(TrustedDocuments({hash_of(HELLO): HELLO})).prepare(request_)


@pytest.mark.parametrize("request_", [GraphQLRequest(OTHER), named(OTHER), named(OTHER, hash_of(HELLO))])
def test_no_other_text_is_run_whatever_its_name(request_: GraphQLRequest) -> None:
    service = operations(TrustedDocuments({hash_of(HELLO): HELLO}))
    assert refusal(service, request_)[0] == "QUERY_NOT_IN_SAFELIST"


def test_no_other_name_is_found() -> None:
    service = operations(TrustedDocuments({hash_of(HELLO): HELLO}))
    assert refusal(service, only_named(OTHER)) == NOT_FOUND
