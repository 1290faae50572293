"""From a valid operation to its plan."""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter
from typing import Any, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    get_nullable_type,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
)
from graphql.execution import default_field_resolver
from graphql.execution.collect_fields import (
    FieldDetailsList,
    FragmentDetails,
    GroupedFieldSet,
    collect_fields,
    collect_subfields,
)
from graphql.execution.values import VariableValues, get_argument_values
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from graphql_api.execution.document_facts import Scan, names_variable, scan
from graphql_api.execution.documents import name_of
from graphql_api.execution.executor import (
    AbstractCompletion,
    AttributeReader,
    Column,
    Completion,
    Field,
    LeafCompletion,
    ListCompletion,
    LoadingReader,
    MethodReader,
    ObjectCompletion,
    PlainReader,
    Plan,
    Reader,
    ResolverReader,
    Selection,
)
from graphql_api.execution.fields import (
    DeclaredField,
    FromColumn,
    FromColumns,
    FromKey,
    FromLoader,
    FromParent,
    is_any_source,
    row_source,
)
from graphql_api.execution.inputs import Convert, Inputs
from graphql_api.execution.invocation import Invocation
from graphql_api.execution.leaf_serializers import leaf_of
from graphql_api.execution.projection import ALL_COLUMNS, Lookahead, Projection, Reference, RowSource
from graphql_api.execution.root_authorization import check_of

WIDE = 4
"""Columns from which taking all columns of a table apart costs less than reading each by itself."""


class Compiler:
    """Compiles one operation for one outcome of its conditions."""

    def __init__(
        self,
        schema: GraphQLSchema,
        inputs: Inputs,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        conditions: Mapping[str, bool],
    ) -> None:
        self._schema = schema
        self._inputs = inputs
        self._operation = operation
        self._fragments = {name: FragmentDetails(node) for name, node in fragments.items()}
        self._strawberry: Any = schema._strawberry_schema  # type: ignore[attr-defined]  # noqa: SLF001
        # All that collecting fields asks of variables is whether the conditions hold.
        self._conditions = VariableValues({}, dict(conditions))
        self._columns: dict[RowSource, frozenset[str] | None] = {}
        self._references: defaultdict[RowSource, list[Reference]] = defaultdict(list)
        self._is_open = False  # whether there are types that only running it will tell

    def compile(self) -> Plan:
        """The plan. Raises GraphQLError or RecursionError where the stock executor would too."""
        root = self._schema.get_root_type(self._operation.operation)
        if root is None:
            raise GraphQLError(
                f"Schema is not configured to execute {self._operation.operation.value} operation.",
                self._operation,
            )
        collected = collect_fields(self._schema, self._fragments, self._conditions, root, self._operation)
        selection = self._select(root, collected.grouped_field_set)
        return Plan(self._operation, selection, self._projection())

    def _select(self, type_: GraphQLObjectType, grouped: GroupedFieldSet) -> Selection:
        fields: list[Field] = []
        for key, details in grouped.items():
            field = self._field(len(fields), key, type_, details)
            if field is not None:
                fields.append(field)
        flat = tuple(
            (field, field.reader, field.completion)
            for field in fields
            if isinstance(field.reader, PlainReader) and isinstance(field.completion, LeafCompletion)
        )
        columns = {name for _, reader, _ in flat for name in reader.columns or ()}
        self._note(row_source(type_), fields)
        apart = {field for field, _, _ in flat}
        return Selection(
            type_,
            tuple(fields),
            flat,
            tuple(field for field in fields if field not in apart),
            len(columns) >= WIDE,
            assembler([field.key for field in fields]),
            any(field.reader.waits or field.completion.waits for field in fields),
        )

    def _note(self, rows: RowSource | None, fields: Sequence[Field]) -> None:
        """Add what is read at one more place of a type to the projection."""
        if rows is None:
            return
        readers = [field.reader for field in fields]
        columns = [reader.columns for reader in readers]
        known = self._columns.get(rows, frozenset())
        together = None if known is None or None in columns else known.union(*filter(None, columns))
        self._columns[rows] = together
        references = self._references[rows]
        for reader in readers:
            source = reader.source if isinstance(reader, LoadingReader) else None
            if isinstance(source, FromKey) and source.reference and source.reference not in references:
                references.append(source.reference)

    def _projection(self) -> Projection:
        return ALL_COLUMNS if self._is_open else Projection(self._columns, self._references)

    def _field(
        self, position: int, key: str, type_: GraphQLObjectType, details: FieldDetailsList
    ) -> Field | None:
        nodes = [each.node for each in details]
        definition = self._schema.get_field(type_, nodes[0].name.value)
        if definition is None:
            return None
        reader, conversion = self._reader(type_, definition, nodes[0])
        completion = self._complete(definition.type, details, conversion)
        field = Field(position, key, type_, definition, details, nodes, reader, completion)
        if isinstance(reader, LoadingReader) and reader.source.looks_ahead:
            field.lookahead = lookahead(completion)
        return field

    def _reader(
        self, type_: GraphQLObjectType, definition: GraphQLField, node: FieldNode
    ) -> tuple[Reader, Convert | None]:
        """How a field is read, and what its column is then converted by."""
        declaration = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        check = check_of(definition.extensions)
        if node.name.value == "__typename":
            return PlainReader(lambda _: type_.name, ()), None
        handlers = self._strawberry.schema_converter.exception_handlers
        if not isinstance(declaration, StrawberryField) or declaration.extensions or handlers:
            return ResolverReader(definition.resolve or default_field_resolver, check), None
        is_plain = not definition.args and check is None
        match declaration.source if isinstance(declaration, DeclaredField) else None:
            case FromLoader() as source:
                return self._loading(source, definition, node, None), None
            case FromKey(name) as source:
                return self._loading(source, definition, node, (name,)), None
            case FromColumn() as source if is_plain and (source.convert is None or is_leaf(definition.type)):
                name = source.column(declaration.python_name)
                return PlainReader(itemgetter(name), (name,)), source.convert
            case FromColumns(names, compute) as source if is_plain:
                return PlainReader(source.of, names, compute), None
            case FromParent(compute) if is_plain:
                return PlainReader(compute), None
            case None if declaration.is_basic_field:
                return AttributeReader(declaration), None
            case None if declaration.base_resolver is not None and not declaration.is_subscription:
                convert = self._inputs.of_arguments(declaration.arguments)
                return MethodReader(declaration, convert, check, self._strawberry.config.info_class), None
            case _:
                return ResolverReader(definition.resolve or default_field_resolver, check), None

    def _loading(
        self,
        source: FromLoader | FromKey,
        definition: GraphQLField,
        node: FieldNode,
        columns: tuple[str, ...] | None,
    ) -> LoadingReader:
        declaration = definition.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
        convert = self._inputs.of_arguments(declaration.arguments)
        given = constants(definition, node, convert)
        return LoadingReader(source, check_of(definition.extensions), convert, given, columns)

    def _complete(
        self, type_: GraphQLOutputType, details: FieldDetailsList, conversion: Convert | None
    ) -> Completion:
        nullable = not is_non_null_type(type_)
        if is_non_null_type(type_):
            type_ = type_.of_type
        if is_list_type(type_):
            return ListCompletion(nullable, self._complete(type_.of_type, details, None))
        if is_leaf_type(type_):
            leaf = leaf_of(type_, conversion, nullable=nullable)
            return LeafCompletion(nullable, leaf)
        if is_abstract_type(type_):
            self._is_open = True
            return AbstractCompletion(
                nullable,
                type_,
                cache(lambda member: self._object(member, details, nullable=False)),
            )
        return self._object(cast("GraphQLObjectType", type_), details, nullable=nullable)

    def _object(
        self, type_: GraphQLObjectType, details: FieldDetailsList, *, nullable: bool
    ) -> ObjectCompletion:
        collected = collect_subfields(
            self._schema, self._fragments, self._conditions, self._operation, type_, details
        )
        test = type_.is_type_of
        return ObjectCompletion(
            nullable,
            self._select(type_, collected.grouped_field_set),
            None if test is is_any_source else test,
        )


def lookahead(completion: Completion) -> Lookahead | None:
    """The declared fields that are selected of a field's values; None where their type is abstract."""
    while isinstance(completion, ListCompletion):
        completion = completion.item
    if not isinstance(completion, ObjectCompletion):
        return None
    selected = Lookahead()
    for each in completion.selection.fields:
        declaration = each.definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        source = declaration.source if isinstance(declaration, DeclaredField) else None
        if source is not None:
            below = selected.below.setdefault(source, Lookahead())
            inner = lookahead(each.completion)
            if inner is not None:
                below.merge(inner)
    return selected


def is_leaf(type_: GraphQLOutputType) -> bool:
    """Whether a field's values are scalars or enums, and not lists of them."""
    return is_leaf_type(get_nullable_type(type_))


def constants(definition: GraphQLField, node: FieldNode, convert: Convert) -> Mapping[str, Any] | None:
    """The arguments of a field that names no variable; None if it does, or if they can't be coerced."""
    if any(names_variable(argument.value) for argument in node.arguments or ()):
        return None
    try:
        return cast("Mapping[str, Any]", convert(get_argument_values(definition, node)))
    except Exception:  # noqa: BLE001 - each run meets it again, and says so at the field
        return None


def assembler(keys: Sequence[str]) -> Callable[[int, Sequence[Column]], list[dict[str, Any]]]:
    """A function that makes objects with these keys out of a column for each.

    Written out as source, a dict display takes half the time of dict(zip(keys, values)). Clients choose the
    keys, so nothing but their plan keeps it.
    """
    if not keys:
        return lambda count, _columns: [{} for _ in range(count)]
    names = [f"v{number}" for number in range(len(keys))]
    entries = ", ".join(f"{key!r}: {name}" for key, name in zip(keys, names, strict=True))
    source = f"lambda _, columns: [{{{entries}}} for {', '.join(names)}, in zip(*columns)]"
    # Keys are names by GraphQL's grammar, so nothing of a request is ever run.
    return cast("Callable[[int, Sequence[Column]], list[dict[str, Any]]]", eval(source))  # noqa: S307


MAX_VARIANTS = 16
"""Plans kept of one operation. It has one for each outcome of its conditions, never one for each value."""


@dataclass(slots=True)
class OperationPlans:
    """The plans of one operation, by the outcomes of its conditions."""

    scan: Scan
    variants: OrderedDict[tuple[Any, ...], Plan] = field(default_factory=OrderedDict)


class Plans:
    """Finds or compiles plans, and counts what was left to the stock executor, by reason."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._inputs = Inputs(schema)
        self.compiled = 0
        self.fallbacks: Counter[str] = Counter()

    def get(self, invocation: Invocation) -> Plan | None:
        """The plan to run; None if the stock executor has to."""
        document, operation = invocation.document, invocation.definition
        name = name_of(operation)
        plans = document.plans.get(name)
        if plans is None:
            plans = document.plans[name] = OperationPlans(scan(operation, document.fragments))
        reason = plans.scan.unsupported
        if reason is None:
            outcome = tuple(invocation.variables.coerced.get(name) for name in plans.scan.conditions)
            plan = plans.variants.get(outcome)
            if plan is not None:
                return plan
            if all(isinstance(value, bool) for value in outcome):
                conditions = dict(zip(plans.scan.conditions, outcome, strict=True))
                try:
                    plan = Compiler(
                        self._schema, self._inputs, operation, document.fragments, conditions
                    ).compile()
                except RecursionError:
                    reason = "depth"
                else:
                    self.compiled += 1
                    plans.variants[outcome] = plan
                    if len(plans.variants) > MAX_VARIANTS:
                        plans.variants.popitem(last=False)
                    return plan
            else:
                reason = "condition"
        self.fallbacks[reason] += 1
        return None
