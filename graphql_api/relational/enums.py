"""Enums over free text, and what every order input shares."""

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar

import strawberry

from graphql_api.postgres.vocabularies import Vocabulary

EnumType = TypeVar("EnumType", bound=Enum)


def value(name: str, description: str) -> Any:
    """An enum's value, which in Python is its own name."""
    return strawberry.enum_value(name, description=description)


def from_vocabulary(enum: type[EnumType], vocabulary: Vocabulary) -> Callable[[str], EnumType]:
    """The enum's value for a stored text. Remembers what it has seen, since a column has few words."""

    @lru_cache(maxsize=256)
    def read(text: str) -> EnumType:
        return enum(vocabulary.canonical(text))

    return read


@strawberry.enum(description="Which end comes first. A null is smaller than every value.")
class OrderDirection(Enum):
    """Both directions are one index read forwards or backwards, so nulls change ends with it."""

    ASC = value("ASC", "Smallest, earliest, or first in the alphabet.")
    DESC = value("DESC", "Largest, latest, or last in the alphabet.")
