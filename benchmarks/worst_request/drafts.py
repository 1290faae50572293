"""Drafts of requests: any that the schema and the limits allow, drawn at random, and variations of them.

All arguments are variables, so that values may be long where the document must be short.
"""

import random
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)

from graphql_api.execution.errors import RequestError
from graphql_api.execution.operations import GraphQLRequest, Operations

_SIZES: Final = (1, 5, 25, 100)
_LONG_SIZES: Final = {"maxPoints": 2000, "activeStrategiesPerformance": 5000, "accountPerformance": 5000}
_TIMES: Final = ("2026-01-01T00:00:00Z", "2026-02-10T00:00:00Z", "2026-12-31T00:00:00Z")
_KINDS: Final = {"accountId": "Account", "sessionId": "Session", "strategyId": "Strategy"}
_ZONES: Final = ("UTC", "America/New_York", "Asia/Kolkata")
_SHRINK: Final = 12
"""Attempts to bring a draft below the limits."""


@dataclass
class Selection:
    """A field, with its arguments' values, and what is selected below it."""

    parent: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    below: list["Selection"] = field(default_factory=list)
    aliases: int = 0
    """How often it is asked for once more, by aliases."""

    def walk(self) -> Iterator["Selection"]:
        """Itself and all below."""
        yield self
        for each in self.below:
            yield from each.walk()


class Drafter:
    """Draws requests from one random generator."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operations: Operations,
        ids: Mapping[str, list[str]],
        cursors: Mapping[str, str],
        seed: int,
    ) -> None:
        """`cursors` are of lists in their default order, by the fields' names."""
        self._schema = schema
        self._cursors = cursors
        self._operations = operations
        self._ids = ids
        self._chance = random.Random(seed)

    def draw(self) -> tuple[list[Selection], GraphQLRequest]:
        """Returns a request within the limits, with its draft."""
        query = self._schema.query_type
        while True:
            draft = [self._selection(query, 7) for _ in range(self._chance.choice((1, 1, 1, 2, 4)))]
            request = self.within_limits(draft)
            if request is not None:
                return draft, request

    def vary(self, draft: list[Selection]) -> tuple[list[Selection], GraphQLRequest]:
        """Returns a variation of a request, or another one where none is within the limits."""
        varied = deepcopy(draft)
        for _ in range(self._chance.randint(1, 3)):
            self._change(varied)
        request = self.within_limits(varied)
        return self.draw() if request is None else (varied, request)

    def within_limits(self, draft: list[Selection]) -> GraphQLRequest | None:
        """Returns the request of a draft, which is made smaller until the limits allow it."""
        for _ in range(_SHRINK):
            request = self.request(draft)
            try:
                self._operations.prepare(request)
            except RequestError:
                self._shrink(draft)
            else:
                return request
        return None

    def request(self, draft: list[Selection]) -> GraphQLRequest:
        """Returns a draft as text and variables."""
        writer = _Writer(self._schema)
        body = writer.selections(draft)
        declared = ", ".join(f"${name}: {type_}" for name, type_ in writer.types.items())
        head = f"query ({declared}) " if declared else ""
        return GraphQLRequest(head + body, None, writer.values)

    def _shrink(self, draft: list[Selection]) -> None:
        every = [each for root in draft for each in root.walk()]
        longest = max(every, key=lambda each: _size(each.arguments), default=None)
        if longest is not None and _size(longest.arguments) > 1 and self._chance.random() < 0.8:
            for name in ("first", "last", "maxPoints"):
                if longest.arguments.get(name, 0) > 1:
                    longest.arguments[name] = max(1, longest.arguments[name] // 3)
            return
        chosen = self._chance.choice(every)
        chosen.aliases = 0
        if len(chosen.below) > 1:
            chosen.below.pop()

    def _change(self, draft: list[Selection]) -> None:
        chosen = self._chance.choice([each for root in draft for each in root.walk()])
        definition = self._definition(chosen)
        match self._chance.randrange(6):
            case 0 | 1:
                chosen.aliases = self._chance.choice((0, 1, 3, 9, 19, 29))
            case 2 if definition.args:
                chosen.arguments = self._arguments(chosen.parent, chosen.name, definition)
            case 3 if "first" in definition.args:
                chosen.arguments.pop("last", None)
                sizes = (*_SIZES, _LONG_SIZES.get(chosen.name, 100))
                chosen.arguments["first"] = self._chance.choice(sizes)
            case 4 if chosen.below:
                chosen.below.append(self._selection(get_named_type(definition.type), 3))
            case _ if chosen.below:
                self._chance.shuffle(chosen.below)
                del chosen.below[1 + self._chance.randrange(len(chosen.below)) :]

    def _definition(self, selection: Selection) -> GraphQLField:
        return field_of(self._schema, selection)

    def _selection(self, type_: Any, depth: int) -> Selection:
        fields = {
            name: each
            for name, each in type_.fields.items()
            if depth > 0 or is_leaf_type(get_named_type(each.type))
        } or type_.fields
        deep = [name for name, each in fields.items() if not is_leaf_type(get_named_type(each.type))]
        name = self._chance.choice(deep if deep and self._chance.random() < 0.7 else list(fields))
        definition = fields[name]
        selection = Selection(type_.name, name, self._arguments(type_.name, name, definition))
        below = get_named_type(definition.type)
        if is_leaf_type(below):
            selection.aliases = self._chance.choice((0, 0, 0, 0, 5, 29))
            return selection
        leaves = [each for each, of in below.fields.items() if is_leaf_type(get_named_type(of.type))]
        if leaves and self._chance.random() < 0.8:
            chosen = self._chance.sample(leaves, self._chance.randint(1, len(leaves)))
            selection.below += [Selection(below.name, each) for each in chosen]
        if not selection.below or self._chance.random() < 0.85:
            selection.below += [
                self._selection(below, depth - 1) for _ in range(self._chance.choice((1, 1, 2)))
            ]
        return selection

    def _arguments(self, parent: str, name: str, definition: GraphQLField) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for key, argument in definition.args.items():
            is_needed = is_non_null_type(argument.type)
            if key == "last" and "first" in given:
                continue
            if key in ("after", "before"):
                if name in self._cursors and self._chance.random() < 0.2:
                    given[key] = self._cursors[name]
                continue
            if key == "orderBy" and not given.keys().isdisjoint(("after", "before")):
                continue
            if is_needed or self._chance.random() < (0.85 if key == "first" else 0.4):
                given[key] = self._value(key, argument.type, self._kind_of_ids(parent, name), 3)
        if "last" in given:
            given.pop("first", None)
        return given

    def _kind_of_ids(self, parent: str, name: str) -> str:
        if parent == "Query" and name.capitalize() in self._ids:
            return name.capitalize()
        return self._chance.choice(list(self._ids))

    def _value(self, name: str, type_: Any, kind: str, depth: int) -> Any:
        type_ = get_nullable_type(type_)
        chance = self._chance
        if is_list_type(type_):
            most = 100 if name == "ids" else chance.choice((1, 3, 20, 100, 1000))
            if isinstance(get_named_type(type_), GraphQLInputObjectType):
                most = chance.choice((1, 2, 10, 40))
            return [self._value(name, type_.of_type, kind, depth) for _ in range(most)]
        if isinstance(type_, GraphQLEnumType):
            return chance.choice(list(type_.values))
        if isinstance(type_, GraphQLInputObjectType):
            names = [
                key
                for key, each in type_.fields.items()
                if depth > 0 or not isinstance(get_named_type(each.type), GraphQLInputObjectType)
            ]
            needed = [key for key, each in type_.fields.items() if is_non_null_type(each.type)]
            chosen = set(needed) | set(chance.sample(names, chance.randint(0, min(4, len(names)))))
            return {key: self._value(key, type_.fields[key].type, kind, depth - 1) for key in chosen}
        match type_.name:
            case "ID":
                return chance.choice(self._ids[_KINDS.get(name, kind)])
            case "Int":
                return chance.choice((*_SIZES, _LONG_SIZES.get(name, 100)))
            case "Float" | "Decimal":
                return "-1.5" if name.startswith("gt") else "1000"
            case "DateTime":
                return _TIMES[0] if name in ("from", "gte") else chance.choice(_TIMES[1:])
            case "Boolean":
                return chance.random() < 0.5
            case _:
                if name == "timezone":
                    return chance.choice(_ZONES)
                return chance.choice(("", "e", "e", "EURUSD", "EURUSD", "x" * 20, "o" * 20, "x" * 100))


def field_of(schema: GraphQLSchema, selection: Selection) -> GraphQLField:
    """Returns the field of the schema that is selected."""
    parent: Any = schema.type_map[selection.parent]
    field: GraphQLField = parent.fields[selection.name]
    return field


def _size(arguments: Mapping[str, Any]) -> int:
    return max((arguments.get(name) or 0 for name in ("first", "last", "maxPoints")), default=0)


class _Writer:
    """Writes selections down, and collects the variables that they use."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._aliases = 0
        self.types: dict[str, str] = {}
        self.values: dict[str, Any] = {}

    def selections(self, selections: list[Selection]) -> str:
        """A selection set."""
        used: set[str] = set()
        parts = []
        for selection in selections:
            for number in range(selection.aliases + 1):
                alias = ""
                if number or selection.name in used:
                    self._aliases += 1
                    alias = f"a{self._aliases}: "
                used.add(selection.name)
                parts.append(alias + self._field(selection))
        return "{" + " ".join(parts) + "}"

    def _field(self, selection: Selection) -> str:
        definition = field_of(self._schema, selection)
        arguments = []
        for name, value in selection.arguments.items():
            variable = f"v{len(self.types)}"
            self.types[variable] = str(definition.args[name].type)
            self.values[variable] = value
            arguments.append(f"{name}: ${variable}")
        given = f"({', '.join(arguments)})" if arguments else ""
        below = self.selections(selection.below) if selection.below else ""
        return f"{selection.name}{given}{below}"
