"""The schema as a whole."""

from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    is_introspection_type,
    is_specified_scalar_type,
)

from graphql_api.schema import schema, schema_text

TYPES = [
    type_
    for type_ in schema._schema.type_map.values()
    if not is_introspection_type(type_) and not is_specified_scalar_type(type_)
]
ROOTS = {"Query", "Mutation", "Subscription"}


def test_schema_graphql_is_in_step_with_the_code() -> None:
    written = Path(__file__).parents[1].joinpath("schema.graphql").read_text()

    assert written == schema_text(), "run `make schema`"


@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.name)
def test_every_element_is_described(type_: GraphQLNamedType) -> None:
    undescribed = [] if type_.description or type_.name in ROOTS else [type_.name]
    match type_:
        case GraphQLEnumType():
            undescribed += [name for name, value in type_.values.items() if not value.description]
        case GraphQLInputObjectType():
            undescribed += [name for name, field in type_.fields.items() if not field.description]
        case GraphQLObjectType() | GraphQLInterfaceType():
            undescribed += [name for name, field in type_.fields.items() if not field.description]
            undescribed += [
                f"{name}({argument}:)"
                for name, field in type_.fields.items()
                for argument, details in field.args.items()
                if not details.description
            ]

    assert not undescribed
