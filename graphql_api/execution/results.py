"""The results of operations, as transports get them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import GraphQLError


@dataclass(slots=True)
class Result:
    """The result of an operation, or of one event of a subscription."""

    data: Any = None
    """A dict, or JSON that is rendered already (orjson.Fragment)."""
    errors: Sequence[GraphQLError] = ()
    extensions: Mapping[str, Any] | None = None
    executed: bool = True
    """False where nothing ran: the response then has no data entry. In a subscription it is the end."""
    _rendered: bytes | None = None

    @classmethod
    def rendered(cls, response: bytes) -> "Result":
        """A result whose response was rendered before."""
        return cls(_rendered=response)

    def render(self) -> bytes:
        """The response as JSON, rendered once however many read it. Raises orjson.JSONEncodeError."""
        if self._rendered is None:
            response: dict[str, Any] = {}
            if self.executed:
                response["data"] = self.data
            if self.errors:
                response["errors"] = [error.formatted for error in self.errors]
            if self.extensions:
                response["extensions"] = self.extensions
            self._rendered = orjson.dumps(response)
        return self._rendered


@dataclass(frozen=True, slots=True)
class Progress:
    """Yielded by a subscription's source in place of an event, while there is none: how far it has come.

    It is no result, and no part of GraphQL. Transports send it to their clients between the results.
    """

    cursor: str
    """Where a client that has had every event so far may resume."""


class Results(list[Result]):
    """The results of events that were due at the same time, which many subscribers may share.

    With `progress` there are none. `encoded` is for transports: what they have encoded of the results, by
    keys of their own.
    """

    __slots__ = ("encoded", "progress")

    def __init__(self, results: Iterable[Result] = (), progress: Progress | None = None) -> None:
        super().__init__(results)
        self.encoded: dict[Any, Any] = {}
        self.progress = progress
