"""The stock executor, graphql-core's own: for operations and values that aren't compiled."""

from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from typing import Any, Final, TypeVar, cast

import orjson
from graphql import (
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
)
from graphql.execution import default_field_resolver, default_type_resolver
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.values import VariableValues
from graphql.pyutils import Path
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graphql_api.execution.documents import ParsedOperation
from graphql_api.execution.errors import LimitError
from graphql_api.execution.fields import check_of
from graphql_api.execution.leaf_serializers import null_text_of
from graphql_api.execution.projection import OperationContext
from graphql_api.quotas import run_aside

MAX_INTROSPECTED: Final = 100_000
"""Fields that one field of introspection may read: several times as many as explorers ask for."""

T = TypeVar("T")
Executor = TypeVar("Executor", bound="StockExecutor")

_introspecting = ThreadPoolExecutor(1, "introspection")


class StockExecutor(StrawberryGraphQLCoreExecutionContext):
    """graphql-core's executor as Strawberry subclasses it, with two changes that fields and scalars declare.

    A field's check runs before its arguments are coerced, and a scalar's null text is null.
    """

    has_failed_to_read = False
    """Whether something couldn't be read, for a reason that isn't meant for clients."""

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: FieldDetailsList,
        path: Path,
        position_context: Any,
    ) -> Any:
        """Runs one field. Where its check raises, no argument is read."""
        definition = self.schema.get_field(parent_type, field_details_list[0].node.name.value)
        check = check_of(definition) if definition is not None else None
        if definition is not None and check is not None:
            try:
                check(self.context_value)
            except Exception as error:  # noqa: BLE001 - becomes the field's error
                return self.handle_field_error(error, definition.type, field_details_list, path)
        return super().execute_field(parent_type, source, field_details_list, path, position_context)

    @staticmethod
    def complete_leaf_value(return_type: GraphQLLeafType, result: Any) -> Any:
        """Serializes a value that isn't null."""
        if isinstance(result, str) and result == null_text_of(return_type):
            return None
        return StrawberryGraphQLCoreExecutionContext.complete_leaf_value(return_type, result)

    async def with_abort_signal(self, awaitable: Awaitable[T]) -> T:
        """Awaits what a resolver returned, or an item of a list of it."""
        try:
            return await super().with_abort_signal(awaitable)
        except Exception as error:
            self.has_failed_to_read |= not isinstance(error, GraphQLError)
            raise

    async def run(self) -> ExecutionResult:
        result = self.execute_operation()
        if isawaitable(result):
            result = await result
        return cast("ExecutionResult", result)


class _TooMuchIntrospectedError(BaseException):
    """Ends an introspection; a BaseException, since the executor makes any other an error of one field."""


class _Introspection(StockExecutor):
    """Runs a field of introspection, which reads nothing but the schema."""

    fields_left = MAX_INTROSPECTED

    def execute_field(self, *arguments: Any) -> Any:
        """Runs one field, if not too many were before."""
        self.fields_left -= 1
        if self.fields_left < 0:
            raise _TooMuchIntrospectedError
        return StrawberryGraphQLCoreExecutionContext.execute_field(self, *arguments)


@dataclass(eq=False, slots=True)
class Invocation:
    """An operation about to run, with coerced variables and a context: all that an executor needs."""

    schema: GraphQLSchema
    operation: ParsedOperation
    variables: VariableValues
    context: OperationContext
    root_value: Any = None
    """The event, for one event of a subscription."""
    hide_suggestions: bool = False

    def stock_executor(self) -> StockExecutor:
        """graphql-core's executor of the operation."""
        return self._executor(StockExecutor, self.operation.definition)

    async def introspect(self, nodes: Sequence[FieldNode]) -> bytes | None:
        """Returns the JSON of `__schema` or `__type`, which is selected by these nodes, or null.

        It is made in a thread of its own, one at a time: a whole schema takes a tenth of a second. Raises
        GraphQLError.
        """
        return await run_aside(_introspecting, partial(self._introspect, nodes))

    def _introspect(self, nodes: Sequence[FieldNode]) -> bytes | None:
        selections = SelectionSetNode(selections=tuple(nodes))
        executor = self._executor(
            _Introspection, OperationDefinitionNode(operation=OperationType.QUERY, selection_set=selections)
        )
        try:
            result = executor.execute_operation()
        except _TooMuchIntrospectedError:
            raise LimitError("introspected fields", MAX_INTROSPECTED, nodes=nodes) from None
        finally:
            del executor.async_helpers  # by which it refers to itself
        if not isinstance(result, ExecutionResult):
            raise TypeError("introspection reads something else than the schema")
        if result.errors:
            raise result.errors[0]
        ((_, value),) = (result.data or {}).items()
        return None if value is None else orjson.dumps(value)

    def _executor(self, kind: type[Executor], definition: OperationDefinitionNode) -> Executor:
        fragments = dict(self.operation.fragments)
        return kind(
            schema=self.schema,
            fragment_definitions={name: each.definition for name, each in fragments.items()},
            fragments=fragments,
            root_value=self.root_value,
            context_value=self.context,
            operation=definition,
            variable_values=self.variables,
            field_resolver=default_field_resolver,
            type_resolver=default_type_resolver,
            subscribe_field_resolver=default_field_resolver,
            is_awaitable=cast("Any", optimized_is_awaitable),
            hide_suggestions=self.hide_suggestions,
        )
