import gc
import weakref
from operator import attrgetter

import strawberry

from graphql_api.execution.compiler import Compiler
from graphql_api.execution.documents import Documents
from graphql_api.execution.executor import Completion, ObjectPlan, object_plan_of


@strawberry.type
class Query:
    @strawberry.field
    def number(self) -> int:
        return 7


@strawberry.type
class Person:
    name: str
    mother: "Person | None" = None
    father: "Person | None" = None


@strawberry.type(name="Query")
class People:
    person: Person


SCHEMA = strawberry.Schema(Query)._schema
PEOPLE = strawberry.Schema(People)._schema


def test_nothing_of_a_plan_is_kept_once_it_is_gone() -> None:
    operation = Documents(SCHEMA).get("{ a_name_that_the_client_chose: number }").operation(None)
    plan = Compiler(SCHEMA).compile(operation.definition, operation.fragments, {})
    assembles = weakref.ref(plan.root.assemble)
    del plan
    gc.collect()
    assert assembles() is None


def test_a_plan_grows_with_the_document_and_not_with_the_places_of_its_fragments() -> None:
    generations = 20
    fragments = " ".join(
        f"fragment F{number} on Person {{ name mother {{ ...F{number + 1} }} father {{ ...F{number + 1} }} }}"
        for number in range(generations)
    )
    text = f"{{ person {{ ...F0 }} }} {fragments} fragment F{generations} on Person {{ name }}"
    operation = Documents(PEOPLE).get(text).operation(None)
    plan = Compiler(PEOPLE).compile(operation.definition, operation.fragments, {})
    memory = plan.memory
    assert memory < 20_000 * generations
    person = object_plan_of(plan.root.fields[0].completion)
    assert person is not None
    _, mother, father = map(attrgetter("completion"), person.fields)
    grandmothers = {id(grandmother_plan(parent)) for parent in (mother, father)}
    assert len(grandmothers) == 1  # of ids: the plans' own texts are as long as what they read


def grandmother_plan(parent: Completion) -> ObjectPlan | None:
    plan = object_plan_of(parent)
    assert plan is not None
    return object_plan_of(plan.fields[1].completion)
