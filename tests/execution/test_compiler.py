import gc
import weakref

import strawberry

from graphql_api.execution.compiler import Compiler
from graphql_api.execution.documents import Documents


@strawberry.type
class Query:
    @strawberry.field
    def number(self) -> int:
        return 7


SCHEMA = strawberry.Schema(Query)._schema


def test_nothing_of_a_plan_is_kept_once_it_is_gone() -> None:
    operation = Documents(SCHEMA).get("{ a_name_that_the_client_chose: number }").operation(None)
    plan = Compiler(SCHEMA).compile(operation.definition, operation.fragments, {})
    assembles = weakref.ref(plan.root.assemble)
    del plan
    gc.collect()
    assert assembles() is None
