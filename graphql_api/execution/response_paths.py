"""Where in the response a value stands, told only when something asks.

A level of the response is run as a whole, so a value is known by its number in a list of values. What leads
from there to a path is kept, and walked for the few that fail or whose resolver is given an `info`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

from graphql.pyutils import Path

if TYPE_CHECKING:
    from graphql_api.execution.plan import Field

Order = tuple[int, ...]
"""Where a field stands when the response is read from top to bottom."""


class Places(Protocol):
    """The places of a list of values."""

    def path(self, index: int) -> Path | None:
        """The path of a value; None for the root."""

    def order(self, index: int) -> Order:
        """Its place from top to bottom."""

    def field_path(self, index: int) -> Path | None:
        """The path of the field whose value it is, or is an item of."""


@dataclass(eq=False, slots=True)
class Root:
    """The one place above all fields."""

    def path(self, _index: int) -> None:
        """Empty."""

    def order(self, _index: int) -> Order:
        """Before all others."""
        return ()

    def field_path(self, _index: int) -> None:
        """No field leads here."""


@dataclass(eq=False, slots=True)
class FieldPlaces:
    """One field of each parent."""

    parents: Places
    field: "Field"

    def path(self, index: int) -> Path:
        """The parent's, and the field's key."""
        return Path(self.parents.path(index), self.field.key, self.field.parent.name)

    def order(self, index: int) -> Order:
        """The parent's, and the field's number."""
        return (*self.parents.order(index), self.field.position)

    def field_path(self, index: int) -> Path:
        """Its own path."""
        return self.path(index)


@dataclass(eq=False, slots=True)
class ItemPlaces:
    """The items of lists, one list after the other."""

    lists: Places
    sizes: Sequence[int]

    def _find(self, index: int) -> tuple[int, int]:
        for number, end in enumerate(accumulate(self.sizes)):
            if index < end:
                return number, index - (end - self.sizes[number])
        raise IndexError(index)

    def path(self, index: int) -> Path:
        """The list's, and the item's number in it."""
        number, item = self._find(index)
        return Path(self.lists.path(number), item, None)

    def order(self, index: int) -> Order:
        """The list's, and the item's number in it."""
        number, item = self._find(index)
        return (*self.lists.order(number), item)

    def field_path(self, index: int) -> Path | None:
        """The list's field."""
        return self.lists.field_path(self._find(index)[0])


@dataclass(eq=False, slots=True)
class Subset:
    """Some of the places, such as those that aren't null."""

    places: Places
    indexes: Sequence[int]

    def path(self, index: int) -> Path | None:
        """As in the whole."""
        return self.places.path(self.indexes[index])

    def order(self, index: int) -> Order:
        """As in the whole."""
        return self.places.order(self.indexes[index])

    def field_path(self, index: int) -> Path | None:
        """As in the whole."""
        return self.places.field_path(self.indexes[index])
