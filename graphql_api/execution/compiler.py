"""Compiles a valid operation to its plan."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from operator import itemgetter
from typing import Any, Final, cast

from graphql import (
    FieldNode,
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
from graphql.execution.values import VariableValues
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from graphql_api.execution.analysis import INTROSPECTION
from graphql_api.execution.columns import ColumnValues
from graphql_api.execution.executor import (
    AbstractCompletion,
    AttributeResolver,
    Completion,
    EventResolver,
    FieldPlan,
    FieldResolver,
    FunctionResolver,
    IntrospectionResolver,
    LeafCompletion,
    LeafField,
    ListCompletion,
    LoaderResolver,
    MethodResolver,
    ObjectCompletion,
    ObjectPlan,
    OperationPlan,
    PlanLookahead,
    PureResolver,
    RenderedCompletion,
    object_plan_of,
)
from graphql_api.execution.fields import (
    FromColumn,
    FromColumns,
    FromKey,
    FromLoader,
    FromParent,
    check_of,
    declaration_of,
    is_any_source,
    row_source,
)
from graphql_api.execution.inputs import ArgumentReader, InputConverter
from graphql_api.execution.leaf_serializers import ConvertColumn, leaf_serializer
from graphql_api.execution.projection import ALL_COLUMNS, Projection, Reference, RowSource

_PLAN_SIZE = 4_000
_FIELD_SIZE = 2_000
_CHARACTER_SIZE = 20
"""Bytes that a plan takes, each of its fields, and the arguments in each character: as measured, or more."""

MIN_TABLE_COLUMNS: Final = 4
"""Columns from which taking all columns of a table apart is faster than reading each by itself."""


class Compiler:
    """Compiles operations of one schema."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self.schema = schema
        self.inputs = InputConverter(schema)
        strawberry: Any = schema._strawberry_schema  # type: ignore[attr-defined]  # noqa: SLF001
        self.info_class = strawberry.config.info_class
        self.has_exception_handlers = bool(strawberry.schema_converter.exception_handlers)
        self.leaf_serializer = cache(leaf_serializer)
        """One serializer for each type: all its fields share it, and so the values that it has converted."""

    def compile(
        self,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDetails],
        conditions: Mapping[str, bool],
    ) -> OperationPlan:
        """Returns the plan for one outcome of its conditions.

        Raises GraphQLError or RecursionError where the stock executor would too.
        """
        return _Compilation(self, operation, fragments, conditions).run()


class _Compilation:
    def __init__(
        self,
        compiler: Compiler,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDetails],
        conditions: Mapping[str, bool],
    ) -> None:
        self._compiler = compiler
        self._schema = compiler.schema
        self._operation = operation
        self._fragments = dict(fragments)
        # Collecting fields reads nothing of the variables but whether the conditions hold.
        self._conditions = VariableValues({}, dict(conditions))
        self._columns: dict[RowSource, frozenset[str] | None] = {}
        self._references: dict[RowSource, list[Reference]] = {}
        self._selection_plans: dict[tuple[object, ...], ObjectPlan] = {}
        """By the type, and by the ids of the fields' nodes."""
        self._has_abstract_types = False
        self._fields = 0
        self._plan: OperationPlan | None = None

    def run(self) -> OperationPlan:
        root = self._schema.get_root_type(self._operation.operation)
        if root is None:
            raise GraphQLError(
                f"Schema is not configured to execute {self._operation.operation.value} operation.",
                self._operation,
            )
        collected = collect_fields(self._schema, self._fragments, self._conditions, root, self._operation)
        plan = self._object_plan(root, collected.grouped_field_set)
        # Which rows an abstract type has is known only when the plan runs: they may be of any source.
        known = Projection(self._columns, self._references)
        projection = ALL_COLUMNS if self._has_abstract_types else known
        location = self._operation.loc
        characters = len(location.source.body) if location is not None else 0
        memory = _PLAN_SIZE + self._fields * _FIELD_SIZE + characters * _CHARACTER_SIZE
        self._plan = OperationPlan(self._operation, plan, projection, memory)
        return self._plan

    def _object_plan(self, type_: GraphQLObjectType, grouped: GroupedFieldSet) -> ObjectPlan:
        fields: list[FieldPlan] = []
        for key, details in grouped.items():
            field = self._field_plan(len(fields), key, type_, details)
            if field is not None:
                fields.append(field)
        leaves: dict[str, LeafField] = {}
        for field in fields:
            if isinstance(field.resolver, PureResolver) and isinstance(field.completion, LeafCompletion):
                known = leaves.get(field.name)  # which has no arguments, so aliases have the same values
                plans = (*known.plans, field) if known else (field,)
                resolver, completion = field.resolver, field.completion
                leaves[field.name] = LeafField(
                    resolver.column, plans, resolver, completion, completion.serializer
                )
        columns = {name for leaf in leaves.values() for name in leaf.resolver.columns or ()}
        self._add_to_projection(row_source(type_), fields)
        return ObjectPlan(
            type=type_,
            fields=tuple(fields),
            leaf_fields=tuple(leaves.values()),
            other_fields=tuple(
                field for field in fields if not any(field in leaf.plans for leaf in leaves.values())
            ),
            reads_table=len(columns) >= MIN_TABLE_COLUMNS,
            assemble=assembler([field.key for field in fields]),
            may_await=any(field.resolver.may_await or field.completion.may_await for field in fields),
            object_size=2 + sum(len(field.key) + 4 for field in fields),
        )

    def _add_to_projection(self, rows: RowSource | None, fields: Sequence[FieldPlan]) -> None:
        """Adds the columns that are read at one more place where the type is selected."""
        if rows is None:
            return
        resolvers = [field.resolver for field in fields]
        columns = [resolver.columns for resolver in resolvers]
        known = self._columns.get(rows, frozenset())
        unknown = known is None or None in columns
        self._columns[rows] = None if unknown else frozenset().union(known or (), *filter(None, columns))
        references = self._references.setdefault(rows, [])
        for resolver in resolvers:
            source = resolver.source if isinstance(resolver, LoaderResolver) else None
            if isinstance(source, FromKey) and source.reference and source.reference not in references:
                references.append(source.reference)

    def _field_plan(
        self, index: int, key: str, type_: GraphQLObjectType, details: FieldDetailsList
    ) -> FieldPlan | None:
        nodes = [each.node for each in details]
        definition = self._schema.get_field(type_, nodes[0].name.value)
        if definition is None:
            return None
        self._fields += 1
        if nodes[0].name.value in INTROSPECTION:
            rendered = RenderedCompletion(nullable=not is_non_null_type(definition.type))
            return FieldPlan(index, key, type_, definition, details, nodes, IntrospectionResolver(), rendered)
        resolver, convert = self._resolver(type_, definition, nodes[0])
        completion = self._completion(definition.type, details, convert)
        field = FieldPlan(index, key, type_, definition, details, nodes, resolver, completion)
        if isinstance(resolver, LoaderResolver) and resolver.source.parse is not None:
            below = object_plan_of(completion)
            field.lookahead = None if below is None else PlanLookahead(below)
        field.list_below = list_below(completion)
        return field

    def _resolver(
        self, type_: GraphQLObjectType, definition: GraphQLField, node: FieldNode
    ) -> tuple[FieldResolver, ConvertColumn | None]:
        """Returns a field's resolver, and the function that then converts its values."""
        check = check_of(definition)
        if node.name.value == "__typename":
            return PureResolver(lambda _: type_.name, ()), None
        function = FunctionResolver(definition.resolve or default_field_resolver, check)
        strawberry_field = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        if not isinstance(strawberry_field, StrawberryField) or strawberry_field.extensions:
            return function, None
        if self._compiler.has_exception_handlers:
            return function, None
        if strawberry_field.is_subscription:
            return EventResolver(check), None
        declaration = declaration_of(definition)
        is_plain = not definition.args and check is None
        match declaration.source if declaration is not None else None:
            case FromLoader() as source:
                return self._loader_resolver(source, definition, node, None), None
            case FromKey(name) as source:
                return self._loader_resolver(source, definition, node, (name,)), None
            case FromColumn() as source if is_plain and (source.convert is None or is_leaf(definition.type)):
                name = source.column(strawberry_field.python_name)
                return PureResolver(itemgetter(name), (name,)), source.convert
            case FromColumns(names, compute, compute_all) as source if is_plain:
                return PureResolver(source.value, names, compute_all or partial(map, compute)), None
            case FromParent(compute) if is_plain:
                return PureResolver(compute), None
            case None if strawberry_field.is_basic_field:
                return AttributeResolver(strawberry_field), None
            case None if strawberry_field.base_resolver is not None:
                convert = self._compiler.inputs.for_arguments(strawberry_field.arguments)
                reader = ArgumentReader(definition, node, convert)
                info_class = self._compiler.info_class
                return MethodResolver(strawberry_field, check, convert, reader, info_class), None
            case _:
                return function, None

    def _loader_resolver(
        self,
        source: FromLoader | FromKey,
        definition: GraphQLField,
        node: FieldNode,
        columns: tuple[str, ...] | None,
    ) -> LoaderResolver:
        strawberry_field = definition.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
        convert = self._compiler.inputs.for_arguments(strawberry_field.arguments)
        arguments = ArgumentReader(definition, node, convert)
        convert_loaded = source.convert if isinstance(source, FromLoader) else None
        return LoaderResolver(source, check_of(definition), convert, arguments, columns, convert_loaded)

    def _completion(
        self, type_: GraphQLOutputType, details: FieldDetailsList, convert: ConvertColumn | None
    ) -> Completion:
        nullable = not is_non_null_type(type_)
        if is_non_null_type(type_):
            type_ = type_.of_type
        if is_list_type(type_):
            return ListCompletion(nullable, self._completion(type_.of_type, details, None))
        if is_leaf_type(type_):
            return LeafCompletion(nullable, self._compiler.leaf_serializer(type_, convert, nullable=nullable))
        if is_abstract_type(type_):
            self._has_abstract_types = True
            return AbstractCompletion(nullable, type_, cache(partial(self._member_completion, details)))
        return self._object_completion(cast("GraphQLObjectType", type_), details, nullable=nullable)

    def _member_completion(self, details: FieldDetailsList, member: GraphQLObjectType) -> ObjectCompletion:
        """Compiles, while the plan runs, the completion of one member of an abstract type.

        The plan grows by it.
        """
        before = self._fields
        completion = self._object_completion(member, details, nullable=False)
        if self._plan is not None:
            self._plan.memory += (self._fields - before) * _FIELD_SIZE
        return completion

    def _object_completion(
        self, type_: GraphQLObjectType, details: FieldDetailsList, *, nullable: bool
    ) -> ObjectCompletion:
        test = type_.is_type_of
        plan = self._selection_plan(type_, details)
        return ObjectCompletion(nullable, plan, None if test is is_any_source else test)

    def _selection_plan(self, type_: GraphQLObjectType, details: FieldDetailsList) -> ObjectPlan:
        """Returns the plan of what is selected below some nodes of the document.

        It is made once for all places at which fragments repeat them: otherwise, fragments that spread one
        another would make the plan many times as large as the document.
        """
        key = (type_, *(id(each.node) for each in details))
        plan = self._selection_plans.get(key)
        if plan is None:
            collected = collect_subfields(
                self._schema, self._fragments, self._conditions, self._operation, type_, details
            )
            plan = self._selection_plans[key] = self._object_plan(type_, collected.grouped_field_set)
        return plan


def list_below(completion: Completion) -> FieldPlan | None:
    """Returns the list that is loaded for objects of one type, if it is all that is loaded for them."""
    if not isinstance(completion, ObjectCompletion) or len(completion.plan.other_fields) != 1:
        return None
    field = completion.plan.other_fields[0]
    match field.resolver:
        case LoaderResolver(source=FromKey(load_with_parent=load), check=None) if load is not None:
            return field
        case _:
            return None


def is_leaf(type_: GraphQLOutputType) -> bool:
    """Whether a field's values are scalars or enums, and not lists of them."""
    return is_leaf_type(get_nullable_type(type_))


def assembler(keys: Sequence[str]) -> Callable[[int, Sequence[ColumnValues]], list[dict[str, Any]]]:
    """Returns a function that makes objects with these keys, from a column of values for each key.

    A dict display, compiled from source, takes half the time of dict(zip(keys, values)). Only the plan keeps
    the function: clients choose the keys, so a cache of it would grow without bound.
    """
    if not keys:
        return lambda count, _columns: [{} for _ in range(count)]
    names = [f"v{number}" for number in range(len(keys))]
    entries = ", ".join(f"{key!r}: {name}" for key, name in zip(keys, names, strict=True))
    source = f"lambda _, columns: [{{{entries}}} for {', '.join(names)}, in zip(*columns)]"
    # Keys are names by GraphQL's grammar, so nothing of a request is ever run.
    return cast("Callable[[int, Sequence[ColumnValues]], list[dict[str, Any]]]", eval(source))  # noqa: S307
