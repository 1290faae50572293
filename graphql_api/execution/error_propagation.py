"""Errors of fields: what they null, and which of them are told.

A field that fails is null. Where it must not be null, its parent is, and so on upwards: the failure is on
its way until something nullable takes it in. Of several failures on their way through one object or list,
only the first counts, since that one alone would have been met by an executor that reads from top to bottom
and stops there. So a run reports the same errors, in the same order, whatever order it worked in.
"""

from dataclasses import dataclass

from graphql import GraphQLError

from graphql_api.execution.response_paths import Order, Places


@dataclass(frozen=True, slots=True)
class Failure:
    """A field that could not be completed, with its error located."""

    error: GraphQLError
    order: Order


Failures = dict[int, Failure] | None
"""Failures on their way up, by the number of the value that they leave without a result."""


def first(*failures: Failure | None) -> Failure | None:
    """The one that is met first from top to bottom."""
    return min((each for each in failures if each is not None), key=lambda each: each.order, default=None)


def merge(failures: dict[int, Failure], failed: Failures) -> None:
    """Add the failures of one field of some objects to those of their other fields."""
    for index, failure in (failed or {}).items():
        known = failures.get(index)
        if known is None or failure.order < known.order:
            failures[index] = failure


class Report:
    """The errors of one operation."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken: list[tuple[Failure, tuple[str | int, ...]]] = []

    def take(self, failure: Failure, places: Places | None = None, index: int = 0) -> None:
        """Let a failure end here: this place is null. Without a place it is all of the data."""
        path = places.path(index) if places is not None else None
        self._taken.append((failure, tuple(path.as_list()) if path is not None else ()))

    def errors(self) -> list[GraphQLError]:
        """What a reader from top to bottom would have met: nothing below what was null by then."""
        nulled: set[tuple[str | int, ...]] = set()
        errors: list[GraphQLError] = []
        for failure, path in sorted(self._taken, key=lambda taken: taken[0].order):
            if not any(path[:length] in nulled for length in range(len(path) + 1)):
                nulled.add(path)
                errors.append(failure.error)
        return errors
