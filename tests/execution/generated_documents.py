"""Valid documents of any schema: aliases, merging, fragments, conditions, variables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLSchema,
    Undefined,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")
Inputs = Mapping[str, Sequence[Any]]
"""JSON values to choose from, for scalars by their type and for arguments by their name."""

SCALARS: Inputs = {
    "Int": [-1, 0, 1, 2, 3],
    "Float": [0.5, 2],
    "String": ["a", "b", 'q"\\\n'],
    "Boolean": [True, False],
    "ID": ["i", "j", "k", "l", "m", "n"],
}


@dataclass(frozen=True)
class Request:
    """A document with its variables."""

    query: str
    variables: dict[str, Any]


@dataclass
class Drafter:
    """Writes one document."""

    schema: GraphQLSchema
    random: Random
    inputs: Inputs
    excluded: frozenset[str]
    budget: int
    fragments: dict[str, str] = field(default_factory=dict)
    fragment_types: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    keys: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def pick(self, choices: Sequence[T]) -> T:
        return self.random.choice(choices)

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def selection_set(self, type_: Any, depth: int) -> str:
        parts = [self.selection(type_, depth) for _ in range(self.random.randint(1, 4))]
        if all(part == "" for part in parts):
            parts = ["__typename"]
        return "{ " + " ".join(parts) + " }"

    def selection(self, type_: Any, depth: int) -> str:
        kind = self.random.randint(0, 11)
        self.budget -= 1
        if self.budget <= 0:
            depth = 0
        if kind == 0 or not hasattr(type_, "fields"):
            if kind < 3 or depth <= 0:
                return f"{self.pick(['', 'kind_of: '])}__typename{self.directives()}"
            kind = 9 + kind % 3
        if kind < 9 or depth <= 0:
            return self.field(type_, depth)
        inside = self.pick(self.overlapping(type_))
        if kind < 11:
            condition = f" on {inside.name}" if inside is not type_ or self.chance(50) else ""
            return f"...{condition}{self.directives()} {self.selection_set(inside, depth - 1)}"
        return self.spread(type_, inside, depth)

    def spread(self, type_: Any, inside: Any, depth: int) -> str:
        possible = {each.name for each in self.overlapping(type_)}
        old = [name for name, of in self.fragment_types.items() if of in possible and name in self.fragments]
        if old and self.chance(50):
            return f"...{self.pick(old)}{self.directives()}"
        name = f"F{len(self.fragment_types)}"
        self.fragment_types[name] = inside.name
        text = self.selection_set(inside, depth - 1)
        self.fragments[name] = f"fragment {name} on {inside.name} {text}"
        return f"...{name}{self.directives()}"

    def overlapping(self, type_: Any) -> list[Any]:
        """Returns the types that a fragment inside `type_` may have."""
        mine = self.possible(type_)
        return [
            each
            for name, each in self.schema.type_map.items()
            if (is_object_type(each) or is_abstract_type(each))
            and not name.startswith("__")
            and mine & self.possible(each)
        ]

    def possible(self, type_: Any) -> set[str]:
        if is_abstract_type(type_):
            return {each.name for each in self.schema.get_possible_types(type_)}
        return {type_.name}

    def field(self, type_: Any, depth: int, *, conditional: bool = True) -> str:
        names = [
            name
            for name, each in type_.fields.items()
            if name not in self.excluded
            and f"{type_.name}.{name}" not in self.excluded
            and (depth > 0 or is_leaf_type(get_named_type(each.type)))
        ]
        if not names:
            return "__typename"
        deeper = [name for name in names if not is_leaf_type(get_named_type(type_.fields[name].type))]
        name = self.pick(deeper if deeper and self.chance(60) else names)
        definition = type_.fields[name]
        arguments = self.arguments(definition)
        key = self.key(name, arguments, definition)
        below = get_named_type(definition.type)
        inside = "" if is_leaf_type(below) else f" {self.selection_set(below, depth - 1)}"
        return f"{key}{name}{arguments}{self.directives() if conditional else ''}{inside}"

    def key(self, name: str, arguments: str, definition: GraphQLField) -> str:
        """Returns an alias that is used only for this field, arguments and type, so that fields can merge."""
        meaning = (name, arguments, str(definition.type))
        if meaning not in self.keys:
            used = len(self.keys)
            plain = not arguments and name not in self.keys.values()
            alias = self.pick([f"{name}{used}", f"z{used}", f"a{used}"])
            self.keys[meaning] = name if plain and self.chance(70) else alias
        key = self.keys[meaning]
        return "" if key == name else f"{key}: "

    def arguments(self, definition: GraphQLField) -> str:
        parts = []
        for name, argument in definition.args.items():
            needed = is_non_null_type(argument.type) and not _has_default(argument)
            if needed or self.chance(12):
                parts.append(f"{name}: {self.argument(name, argument)}")
        return f"({', '.join(parts)})" if parts else ""

    def argument(self, name: str, argument: Any) -> str:
        if self.chance(50):
            return self.literal(self.value(name, argument.type), argument.type)
        variable = f"v{len(self.variables)}"
        type_ = argument.type
        declared = str(type_)
        if not is_non_null_type(type_):
            nullable = True
        elif _has_default(argument) and self.chance(50):
            nullable = True
            declared = declared.removesuffix("!")
        else:
            nullable = False
        if self.chance(30):
            declared += f" = {self.literal(self.value(name, get_nullable_type(type_)), type_)}"
        self.variables[variable] = declared
        given = self.random.randint(0, 9)
        if given < 6 or not (nullable or "=" in declared):
            self.values[variable] = self.value(name, get_nullable_type(type_))
        elif given < 8 and nullable:
            self.values[variable] = None  # where the argument may not be null, this fails at the field
        return f"${variable}"

    def value(self, name: str, type_: Any) -> Any:
        """Returns a JSON value for an argument or an input field."""
        if is_non_null_type(type_):
            return self.value(name, type_.of_type)
        if name in self.inputs:
            return self.pick(self.inputs[name])
        if is_list_type(type_):
            return [self.value(name, type_.of_type) for _ in range(self.random.randint(0, 2))]
        if isinstance(type_, GraphQLEnumType):
            return self.pick(list(type_.values))
        if isinstance(type_, GraphQLInputObjectType):
            return {
                key: self.value(key, each.type)
                for key, each in type_.fields.items()
                if (is_non_null_type(each.type) and not _has_default(each)) or self.chance(25)
            }
        return self.pick({**SCALARS, **self.inputs}[type_.name])

    def literal(self, value: Any, type_: Any) -> str:
        type_ = get_nullable_type(type_)
        match value:
            case None:
                return "null"
            case bool():
                return str(value).lower()
            case dict():
                fields = getattr(type_, "fields", {})
                return (
                    "{" + ", ".join(f"{k}: {self.literal(v, fields[k].type)}" for k, v in value.items()) + "}"
                )
            case list():
                return "[" + ", ".join(self.literal(item, type_.of_type) for item in value) + "]"
            case str() if isinstance(type_, GraphQLEnumType):
                return value
            case str():
                escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
                return f'"{escaped}"'
            case _:
                return str(value)

    def directives(self) -> str:
        if not self.chance(12):
            return ""
        parts = []
        for name in self.pick([["skip"], ["include"], ["skip", "include"]]):
            condition = self.pick(["true", "false", "$yes", "$no"])
            if condition == "$yes":
                self.variables["yes"], self.values["yes"] = "Boolean!", True
            if condition == "$no":
                self.variables["no"], self.values["no"] = "Boolean! = false", self.chance(50)
            parts.append(f" @{name}(if: {condition})")
        return "".join(parts)


def _has_default(argument: Any) -> bool:
    return argument.default is not None or argument.default_value is not Undefined


def documents(
    schema: GraphQLSchema,
    kind: str = "query",
    *,
    inputs: Inputs | None = None,
    excluded: frozenset[str] = frozenset(),
    depth: int = 7,
    budget: int = 40,
) -> SearchStrategy[Request]:
    """Generates operations of a kind. Never selects `excluded` fields, given as `name` or `Type.name`."""
    root = {
        "query": schema.query_type,
        "mutation": schema.mutation_type,
        "subscription": schema.subscription_type,
    }[kind]

    def draft(seed: int) -> Request:
        drafter = Drafter(schema, Random(seed), inputs or {}, excluded, budget)
        if kind == "subscription":  # has exactly one root field, without conditions
            text = "{ " + drafter.field(root, depth, conditional=False) + " }"
        else:
            text = drafter.selection_set(root, depth)
        declared = ", ".join(f"${name}: {type_}" for name, type_ in drafter.variables.items())
        head = f"{kind} Q({declared})" if declared else f"{kind} Q"
        return Request("\n".join([f"{head} {text}", *drafter.fragments.values()]), drafter.values)

    # A seed for each document, and not a draw for each choice: those come out small, and much alike.
    return st.integers(0, 2**64).map(draft)
