"""Projections: the columns and relations that an operation reads, found when it is compiled.

Columns and relations are looked up by the objects that declare them (a row source, a field's source), never
by name, so that no renaming can break a look-up silently.
"""

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class RowSource(Protocol):
    """Where the rows behind a GraphQL type come from: a database table, say.

    A Strawberry class names its own in `row_source`; its declared fields then read columns of such rows.
    """

    @property
    def column_names(self) -> frozenset[str]:
        """The columns that its rows may have."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key: the column that holds it, and where the row with that id is read from."""

    column: str
    target: RowSource


class OperationContext(Protocol):
    """What all resolvers of one operation share, as far as the executor uses it."""

    projection: "Projection"
    """Set before the operation runs, so that loaders read no more than it."""
    on_due: Callable[[Any, Any], None] | None
    """Called with events that come while a subscription waits for its next one, and its source's.

    It may deliver them in place of the task that waits (`subscriptions.Recipient`); None if nothing does.
    """

    def load_queued(self) -> Awaitable[None] | None:
        """Returns an awaitable that loads what is queued, to be awaited at once in the operation's task.

        The executor calls it where nothing else of the operation runs, so that no key can be added until it
        is awaited. None leaves it to loaders to begin by themselves.
        """

    def cancel(self) -> None:
        """Stops the loads that the operation has begun, since it was cancelled."""

    @property
    def joint_key(self) -> Hashable:
        """Equal for contexts whose viewers may have the same joint context."""

    def joint(self) -> "JointContext | None":
        """Returns a context in which events of several viewers are executed together; None without one."""


class JointContext(OperationContext, Protocol):
    """A context for events of several viewers. It has nothing that depends on one of the viewers."""

    @property
    def needs_viewer(self) -> bool:
        """Whether a resolver needed one viewer, which raised an error: execute the events one by one then."""


class Projection:
    """The columns that an operation reads of each row source, wherever in the operation its rows occur."""

    __slots__ = ("_columns", "_references")

    def __init__(
        self,
        columns: Mapping[RowSource, frozenset[str] | None],
        references: Mapping[RowSource, Sequence[Reference]],
    ) -> None:
        self._columns = columns
        self._references = references

    def columns(self, source: RowSource) -> frozenset[str] | None:
        """Returns the columns that are read of a source's rows; None for all of them."""
        return self._columns.get(source)

    def references(self, source: RowSource) -> Sequence[Reference]:
        """Returns the foreign keys of a source's rows that the operation follows."""
        return self._references.get(source, ())


ALL_COLUMNS = Projection({}, {})
"""The projection of an operation that wasn't compiled: every column is read, and no reference is known."""


class Lookahead(Protocol):
    """The declared fields that are selected below a field, by what they are read from."""

    def selects(self, *path: Any) -> bool:
        """Whether a field is selected; several sources are a path, from the outer field to the inner one."""
