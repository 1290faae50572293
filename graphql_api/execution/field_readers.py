"""How the values of a field are read, for all parents at once.

What a reader returns has a value for each parent: an exception where reading failed, and something to await
where it isn't there yet.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from strawberry.types.field import StrawberryField

from graphql_api.execution.fields import Check, Load
from graphql_api.execution.input_conversion import Convert
from graphql_api.execution.response_paths import Places
from graphql_api.execution.row_batch import Rows

if TYPE_CHECKING:
    from graphql_api.execution.executor import Run
    from graphql_api.execution.plan import Field


class Reader(Protocol):
    """Reads one field."""

    waits: bool
    """Whether its values may be something to await."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """What it reads of a parent that is a row; None where that isn't known."""

    def read(self, run: "Run", field: "Field", parents: Sequence[Any], places: Places) -> list[Any]:
        """A value for each parent. `places` are those of the field."""


def attempt(function: Callable[[Any], Any], parents: Iterable[Any]) -> list[Any]:
    """Call once for each parent; whatever is raised for one stands in its place."""
    values = []
    for parent in parents:
        try:
            values.append(function(parent))
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            values.append(error)
    return values


@dataclass(frozen=True, slots=True)
class PlainReader:
    """What a function of the parent alone gives: columns of its row, or a computation from it."""

    function: Callable[[Any], Any]
    columns: tuple[str, ...] | None = None
    """What it reads of a row; None where that isn't known."""
    compute: Callable[..., Any] | None = None
    """What it makes of these columns; None where it is one of them, as it stands."""
    waits = False

    def read(self, _run: "Run", _field: "Field", parents: Sequence[Any], _places: Places) -> list[Any]:
        """Call it for each parent."""
        try:
            return list(map(self.function, parents))
        except Exception:  # noqa: BLE001 - found again, at the parent that it is about
            return attempt(self.function, parents)

    def read_table(self, table: Mapping[str, Sequence[Any]]) -> Sequence[Any] | None:
        """The same for rows that were taken apart into columns; None if it takes whole rows, or fails."""
        if not self.columns:
            return None
        try:
            columns = [table[name] for name in self.columns]
            return columns[0] if self.compute is None else list(map(self.compute, *columns))
        except Exception:  # noqa: BLE001 - found again, row by row
            return None


@dataclass(frozen=True, slots=True)
class LoadingReader:
    """A declared load: every parent is asked for before anything is awaited."""

    prepare: Callable[[Any, Mapping[str, Any]], Load]
    check: Check | None
    convert: Convert
    arguments: Mapping[str, Any] | None
    """Those of a field whose arguments name no variable: the same for every request."""
    key: Callable[[Any], Any] | None
    """Of the parent, where that is what is loaded by."""
    columns: tuple[str, ...] | None
    """What it reads of a row; None where that isn't known."""
    edge: tuple[str, Any] | None
    """The column of the key and what it leads to, where rows may have that with them."""
    waits = True

    def read(self, run: "Run", field: "Field", parents: Sequence[Any], _places: Places) -> list[Any]:
        """Prepare once, then ask for each parent, or for each key that is none of another's."""
        try:
            if self.check is not None:
                self.check(run.context)
            arguments = self.arguments
            if arguments is None:
                arguments = self.convert(run.arguments(field))
            load = self.prepare(run.context, arguments)
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            return [error] * len(parents)
        if self.key is None:
            return attempt(load, parents)
        try:
            keys = list(map(self.key, parents))
            if self.edge is not None and isinstance(parents, Rows) and self.edge in parents.along:
                return parents.along[self.edge].of(keys)
            different = dict.fromkeys(keys)
        except Exception:  # noqa: BLE001 - found again, at the parent that it is about
            return attempt(partial(_load_one, self.key, load), parents)
        different.pop(None, None)
        loads = dict(zip(different, attempt(load, different), strict=True))
        return list(map(loads.get, keys))


def _load_one(key_of: Callable[[Any], Any], load: Load, parent: Any) -> Any:
    key = key_of(parent)
    return None if key is None else load(key)


@dataclass(frozen=True, slots=True)
class AttributeReader:
    """An attribute of the parent, as Strawberry reads fields without a resolver."""

    declaration: StrawberryField
    waits = True
    columns = None

    def read(self, _run: "Run", _field: "Field", parents: Sequence[Any], _places: Places) -> list[Any]:
        """Ask each parent."""
        return attempt(lambda parent: self.declaration.get_result(parent, None, [], {}), parents)


@dataclass(frozen=True, slots=True)
class MethodReader:
    """A Strawberry field's own resolver, called once for each parent."""

    declaration: StrawberryField
    convert: Convert
    check: Check | None
    make_info: Callable[..., Any]
    """The schema's own class of `info`."""
    waits = True
    columns = None

    def read(self, run: "Run", field: "Field", parents: Sequence[Any], places: Places) -> list[Any]:
        """Call it with what it asks for: its parent, an `info`, its arguments."""
        try:
            if self.check is not None:
                self.check(run.context)
            given = run.arguments(field)
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            return [error] * len(parents)
        resolver = self.declaration.base_resolver
        assert resolver is not None  # noqa: S101 - narrows

        def call(number: int) -> Any:
            parent = parents[number]
            info = self.make_info(_raw_info=run.info(field, places.path(number)), _field=self.declaration)
            arguments = self.convert(given)
            for parameter, value in (
                (resolver.parent_parameter, parent),
                (resolver.root_parameter, parent),
                (resolver.info_parameter, info),
            ):
                if parameter is not None:
                    arguments[parameter.name] = value
            own = [parent] if resolver.self_parameter else []
            return self.declaration.get_result(parent, info, own, arguments)

        return attempt(call, range(len(parents)))


@dataclass(frozen=True, slots=True)
class ResolverReader:
    """Any other resolver, called as the stock executor calls it."""

    resolve: Callable[..., Any]
    check: Check | None = None
    waits = True
    columns = None

    def read(self, run: "Run", field: "Field", parents: Sequence[Any], places: Places) -> list[Any]:
        """Call it once for each parent, with an `info` of its own."""
        try:
            if self.check is not None:
                self.check(run.context)
            arguments = run.arguments(field)
        except Exception as error:  # noqa: BLE001 - becomes the field's error
            return [error] * len(parents)

        def call(number: int) -> Any:
            return self.resolve(parents[number], run.info(field, places.path(number)), **arguments)

        return attempt(call, range(len(parents)))
