"""The stock executor, graphql-core's own: for operations and values that aren't compiled."""

from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, cast

from graphql import ExecutionResult, GraphQLLeafType, GraphQLObjectType, GraphQLSchema
from graphql.execution import default_field_resolver, default_type_resolver
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.values import VariableValues
from graphql.pyutils import Path
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graphql_api.execution.documents import ParsedOperation
from graphql_api.execution.fields import check_of
from graphql_api.execution.leaf_serializers import null_text_of
from graphql_api.execution.projection import OperationContext


class StockExecutor(StrawberryGraphQLCoreExecutionContext):
    """graphql-core's executor as Strawberry subclasses it, with two changes that fields and scalars declare.

    A field's check runs before its arguments are coerced, and a scalar's null text is null.
    """

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

    async def run(self) -> ExecutionResult:
        result = self.execute_operation()
        if isawaitable(result):
            result = await result
        return cast("ExecutionResult", result)


@dataclass(frozen=True, eq=False, slots=True)
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
        fragments = dict(self.operation.fragments)
        return StockExecutor(
            schema=self.schema,
            fragment_definitions={name: each.definition for name, each in fragments.items()},
            fragments=fragments,
            root_value=self.root_value,
            context_value=self.context,
            operation=self.operation.definition,
            variable_values=self.variables,
            field_resolver=default_field_resolver,
            type_resolver=default_type_resolver,
            subscribe_field_resolver=default_field_resolver,
            is_awaitable=cast("Any", optimized_is_awaitable),
            hide_suggestions=self.hide_suggestions,
        )
