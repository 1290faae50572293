"""Analysis of a document: its size, depth, cost, root fields and variables, in one walk.

Validation and execution take their time from a document's size once its fragments are spread, which can
double with every dozen characters. So each fragment is walked once, whatever the number of its spreads, and
the time that an analysis takes is linear in the text.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLNamedType,
    GraphQLSchema,
    GraphQLSkipDirective,
    InlineFragmentNode,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_composite_type,
)

from graphql_api.execution.costs import (
    NO_BASE,
    BaseCost,
    CostRules,
    FieldCost,
    OperationCost,
    SelectionCost,
    literal_value,
)
from graphql_api.execution.errors import LimitError

MAX_SELECTIONS: Final = 5_000
"""Fields, spreads and inline fragments of all operations of a document, a fragment's once for each operation.

Validation visits an operation's fragments for each operation. One operation alone can't have as many.
"""
_OPERATION = 30
"""Selections that are counted for each operation: validating an empty one takes as long as so many."""
MAX_NESTING: Final = 200
"""How deep selection sets and fragments may be nested; graphql-core's parser bounds selection sets alike."""

INTROSPECTION: Final = frozenset({"__schema", "__type"})
"""The fields of introspection, all of which are root fields."""

_CONDITIONS = frozenset({GraphQLSkipDirective.name, GraphQLIncludeDirective.name})
_CONNECTION_FIELDS = frozenset({"edges", "node", "nodes"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """The most that a request may ask for; None is no limit."""

    characters: int = 15_000
    tokens: int = 2_000
    depth: int | None = None
    aliases: int | None = None
    directives: int | None = None
    root_fields: int | None = None
    cost: int | None = None
    values: int | None = None
    """Scalars, lists and objects in the variables."""
    response_size: int | None = None
    """Bytes of a response, counted while it is made."""
    errors: int = 100
    """Errors in a response."""


class Reuse(NamedTuple):
    """A variable that an operation's arguments use more than once."""

    name: str
    uses: int
    default: ValueNode | None


class Size(NamedTuple):
    """The size of a selection set once its fragments are spread; a fragment counts at each of its spreads."""

    depth: int = 0
    """Levels of fields. A connection's edges, node and nodes don't count, nor does introspection."""
    aliases: int = 0
    directives: int = 0
    fields: int = 0
    """Fields of the selection set itself, not of those below."""
    nesting: int = 0
    """How deep selection sets are nested, those of fragments included."""


@dataclass(frozen=True, slots=True)
class OperationAnalysis:
    """What one operation contains, the fragments that it spreads included."""

    size: Size
    cost: OperationCost
    root_fields: tuple[FieldNode, ...]
    conditions: tuple[str, ...]
    """The variables that @skip and @include depend on."""
    result_variables: frozenset[str]
    """The variables that results depend on, but for those in the arguments of root fields."""
    reused: tuple[Reuse, ...]
    """The variables that arguments use more than once; a fragment's uses count at each of its spreads."""
    stock_reason: str | None
    """Why the operation can't be compiled and has to be left to the stock executor; None if it can."""


class NestingError(LimitError):
    """Selections are nested deeper than MAX_NESTING."""

    def __init__(self, node: Node) -> None:
        super().__init__("nesting", MAX_NESTING, nodes=[node])


class SelectionsError(LimitError):
    """Operations of one document whose selections are too many together, fragments included."""

    def __init__(self, node: Node) -> None:
        super().__init__("selections of all operations", MAX_SELECTIONS, nodes=[node])


class FragmentCycleError(GraphQLError):
    """A fragment that spreads itself."""

    def __init__(self, spread: FragmentSpreadNode) -> None:
        super().__init__(f"Cannot spread fragment '{spread.name.value}' within itself.", spread)


@dataclass(slots=True)
class _Part:
    """An operation or a fragment, without what its fragments contain."""

    cost: SelectionCost = field(default_factory=SelectionCost)
    size: Size | None = None
    """None while it is being walked."""
    selections: int = 0
    """Those at all levels."""
    top_fields: list[FieldNode] = field(default_factory=list)
    top_spreads: list[str] = field(default_factory=list)
    """Fragments that are spread beside its top fields; those that are spread below them are in `spreads`."""
    spreads: list[str] = field(default_factory=list)
    top_variables: set[str] = field(default_factory=set)
    """Variables in the arguments of its top fields; all others are in `variables`."""
    variables: set[str] = field(default_factory=set)
    uses: Counter[str] = field(default_factory=Counter)
    """How often its arguments use each variable, without those of the fragments that it spreads."""
    size_variables: set[str] = field(default_factory=set)
    """Variables that set the sizes of lists."""
    conditions: set[str] = field(default_factory=set)
    stock_reason: str | None = None


def analyze(
    document: DocumentNode, schema: GraphQLSchema, rules: CostRules, base: BaseCost = NO_BASE
) -> list[tuple[OperationDefinitionNode, OperationAnalysis]]:
    """Returns the operations of a document, each with its analysis.

    Names that the schema doesn't have are skipped: validation reports them. Raises FragmentCycleError,
    NestingError and SelectionsError.
    """
    walk = _Walk(schema, rules, base, document)
    return [
        (definition, walk.operation(definition))
        for definition in document.definitions
        if isinstance(definition, OperationDefinitionNode)
    ]


def exceeded(analysis: OperationAnalysis, limits: RequestLimits, node: Node) -> list[LimitError]:
    """Returns an error for each limit on a document's text that an operation exceeds."""
    size = analysis.size
    compared = (
        ("depth", limits.depth, size.depth),
        ("aliases", limits.aliases, size.aliases),
        ("directives", limits.directives, size.directives),
        ("root fields", limits.root_fields, size.fields),
    )
    return [
        LimitError(name, most, actual, [node])
        for name, most, actual in compared
        if most is not None and actual > most
    ]


def count_directives(*nodes: Node) -> int:
    """Returns the number of directives on some nodes."""
    return sum(len(getattr(node, "directives", None) or ()) for node in nodes)


def variables_in(value: ValueNode) -> Iterator[str]:
    """Yields the names of the variables that occur in a value."""
    match value:
        case VariableNode():
            yield value.name.value
        case ListValueNode():
            for item in value.values:
                yield from variables_in(item)
        case ObjectValueNode():
            for each in value.fields:
                yield from variables_in(each.value)


class _Walk:
    def __init__(
        self, schema: GraphQLSchema, rules: CostRules, base: BaseCost, document: DocumentNode
    ) -> None:
        self._schema = schema
        self._rules = rules
        self._base = base
        self._definitions = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._fragments: dict[str, _Part] = {}
        self._level = 0
        self._selections_left = MAX_SELECTIONS

    def operation(self, definition: OperationDefinitionNode) -> OperationAnalysis:
        part = _Part()
        root = self._schema.get_root_type(definition.operation)
        size = self._selections(part, part.cost, root, definition.selection_set, is_top=True)
        directives = count_directives(definition, *(definition.variable_definitions or ()))
        top, below = self._reached(part)
        parts = [*top, *below]
        self._selections_left -= _OPERATION + sum(each.selections for each in parts)
        if self._selections_left < 0:
            raise SelectionsError(definition)
        sizing = set().union(*(each.size_variables for each in parts))
        defaults = {
            variable.variable.name.value: literal_value(variable.default_value)
            for variable in definition.variable_definitions or ()
            if variable.variable.name.value in sizing
        }
        uses = self._uses(part, {})
        reused = tuple(
            Reuse(variable.variable.name.value, uses[variable.variable.name.value], variable.default_value)
            for variable in definition.variable_definitions or ()
            if uses[variable.variable.name.value] > 1
        )
        reasons = ["directive" if definition.directives else None, *(each.stock_reason for each in parts)]
        return OperationAnalysis(
            size=size._replace(directives=size.directives + directives),
            cost=OperationCost(part.cost, defaults, self._base),
            root_fields=tuple(node for each in top for node in each.top_fields),
            conditions=tuple(sorted(set().union(*(each.conditions for each in parts)))),
            result_variables=frozenset[str]().union(
                *(each.variables for each in parts), *(each.top_variables for each in below)
            ),
            reused=reused,
            stock_reason=next(filter(None, reasons), None),
        )

    def _selections(
        self,
        part: _Part,
        cost: SelectionCost,
        parent: GraphQLNamedType | None,
        node: SelectionSetNode,
        *,
        is_top: bool,
    ) -> Size:
        """Adds a selection set to `part` and `cost`; `parent` is None for an unknown type."""
        self._level += 1
        if self._level > MAX_NESTING:
            raise NestingError(node)
        part.selections += len(node.selections)
        depth = aliases = directives = fields = nesting = 0
        for selection in node.selections:
            match selection:
                case FieldNode():
                    size = self._field(part, cost, parent, selection, is_top=is_top)
                case FragmentSpreadNode():
                    size = self._spread(part, cost, selection, is_top=is_top)
                case InlineFragmentNode(type_condition=condition, selection_set=inner):
                    type_ = self._schema.get_type(condition.name.value) if condition else parent
                    size = self._selections(part, cost, type_, inner, is_top=is_top)
                case _:
                    raise TypeError(selection)
            depth = max(depth, size.depth)
            aliases += size.aliases
            directives += size.directives + count_directives(selection)
            fields += size.fields
            nesting = max(nesting, size.nesting)
            self._note_directives(part, selection.directives or ())
        if self._level + nesting > MAX_NESTING:
            raise NestingError(node)
        self._level -= 1
        return Size(depth, aliases, directives, fields, nesting + 1)

    def _field(
        self,
        part: _Part,
        cost: SelectionCost,
        parent: GraphQLNamedType | None,
        node: FieldNode,
        *,
        is_top: bool,
    ) -> Size:
        name = node.name.value
        used = part.top_variables if is_top else part.variables
        for argument in node.arguments or ():
            names = list(variables_in(argument.value))
            used.update(names)
            part.uses.update(names)
        if is_top:
            part.top_fields.append(node)
        definition = self._schema.get_field(parent, name) if is_composite_type(parent) else None
        below, size = SelectionCost(), Size()
        if node.selection_set is not None:
            type_ = get_named_type(definition.type) if definition is not None else None
            size = self._selections(part, below, type_, node.selection_set, is_top=False)
        if name in INTROSPECTION:
            size = size._replace(depth=0)
        if definition is not None and parent is not None and not name.startswith("__"):
            rule = self._rules.get(f"{parent.name}.{name}") or self._rules.get(name)
            cost.leaf_count += node.selection_set is None
            own = FieldCost.of(rule, definition, node, below, is_repeated=name in cost.leaves)
            if own is not None:
                cost.fields.append(own)
                if node.selection_set is None:
                    cost.leaves.add(name)
                part.size_variables.update(own.size.variables if own.size else ())
        return size._replace(
            depth=size.depth + (name not in _CONNECTION_FIELDS),
            aliases=size.aliases + (node.alias is not None),
            fields=1,
        )

    def _spread(self, part: _Part, cost: SelectionCost, node: FragmentSpreadNode, *, is_top: bool) -> Size:
        name = node.name.value
        if node.arguments:
            part.stock_reason = "fragment arguments"
        fragment = self._fragments.get(name)
        if fragment is None:
            definition = self._definitions.get(name)
            if definition is None:
                return Size()
            fragment = self._fragments[name] = _Part()
            type_ = self._schema.get_type(definition.type_condition.name.value)
            size = self._selections(fragment, fragment.cost, type_, definition.selection_set, is_top=True)
            fragment.size = size._replace(directives=size.directives + count_directives(definition))
        if fragment.size is None:
            raise FragmentCycleError(node)
        (part.top_spreads if is_top else part.spreads).append(name)
        cost.spreads.append(fragment.cost)
        return fragment.size

    def _note_directives(self, part: _Part, directives: Iterable[DirectiveNode]) -> None:
        for directive in directives:
            if directive.name.value not in _CONDITIONS:
                part.stock_reason = "directive"
            for argument in directive.arguments or ():
                names = set(variables_in(argument.value))
                part.variables |= names
                part.conditions |= names

    def _uses(self, part: _Part, known: dict[str, Counter[str]]) -> Counter[str]:
        """Returns how often a part's arguments use each variable, each of its fragments added up once."""
        total = part.uses.copy()
        for name, times in Counter(part.top_spreads + part.spreads).items():
            if name not in known:
                known[name] = self._uses(self._fragments[name], known)
            for variable, uses in known[name].items():
                total[variable] += times * uses
        return total

    def _reached(self, part: _Part) -> tuple[list[_Part], list[_Part]]:
        """Returns the parts whose top fields are root fields of an operation, and those spread below."""
        top = self._closure([part], lambda each: each.top_spreads)
        spreads = dict.fromkeys(name for each in top for name in each.spreads)
        below = self._closure(
            [self._fragments[name] for name in spreads], lambda each: each.top_spreads + each.spreads
        )
        return top, below

    def _closure(self, parts: list[_Part], spreads_of: Callable[[_Part], list[str]]) -> list[_Part]:
        found, seen = list(parts), set[str]()
        for each in found:  # the loop appends to it
            for name in spreads_of(each):
                if name not in seen:
                    seen.add(name)
                    found.append(self._fragments[name])
        return found
