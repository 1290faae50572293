"""Enums of columns with free text, and OrderDirection, which all order inputs share."""

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar

import strawberry

from graphql_api.postgres.vocabularies import Vocabulary

EnumType = TypeVar("EnumType", bound=Enum)


def value(name: str, description: str) -> Any:
    """Returns an enum value with a description; its Python value is its name."""
    return strawberry.enum_value(name, description=description)


def from_vocabulary(enum: type[EnumType], vocabulary: Vocabulary) -> Callable[[str], EnumType]:
    """Returns a function from stored texts to an enum's values; cached, since a column has few texts."""

    @lru_cache(maxsize=256)
    def convert(text: str) -> EnumType:
        return enum(vocabulary.canonical(text))

    return convert


@strawberry.enum(description="Which end comes first. A null is smaller than every value.")
class OrderDirection(Enum):
    """DESC is ASC reversed, nulls included: both directions read one index, from either end."""

    ASC = value("ASC", "Smallest, earliest, or first in the alphabet.")
    DESC = value("DESC", "Largest, latest, or last in the alphabet.")
