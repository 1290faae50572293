"""An operation about to run: with its variables coerced, for one context."""

from dataclasses import dataclass
from typing import Any, cast

from graphql import GraphQLObjectType, GraphQLSchema, OperationDefinitionNode
from graphql.execution import default_field_resolver, default_type_resolver
from graphql.execution.collect_fields import FieldDetailsList, FragmentDetails
from graphql.execution.values import VariableValues
from graphql.pyutils import Path
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graphql_api.execution.documents import Document
from graphql_api.execution.projection import OperationContext
from graphql_api.execution.root_authorization import check_of


class StockExecutor(StrawberryGraphQLCoreExecutionContext):
    """graphql-core's executor, as Strawberry has it, but for when it looks at a field's check."""

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: FieldDetailsList,
        path: Path,
        position_context: Any,
    ) -> Any:
        """Run one field. Who may not ask for it has us read no argument."""
        definition = self.schema.get_field(parent_type, field_details_list[0].node.name.value)
        check = check_of(definition.extensions) if definition is not None else None
        if definition is not None and check is not None:
            try:
                check(self.context_value)
            except Exception as error:  # noqa: BLE001 - becomes the field's error
                return self.handle_field_error(error, definition.type, field_details_list, path)
        return super().execute_field(parent_type, source, field_details_list, path, position_context)


@dataclass(frozen=True, eq=False, slots=True)
class Invocation:
    """What either executor needs to run one operation, or one event of a subscription."""

    schema: GraphQLSchema
    document: Document
    definition: OperationDefinitionNode
    variables: VariableValues
    context: OperationContext
    root_value: Any = None
    hide_suggestions: bool = False

    def stock_executor(self) -> StockExecutor:
        """graphql-core's executor of the same."""
        return StockExecutor(
            schema=self.schema,
            fragment_definitions=dict(self.document.fragments),
            fragments={name: FragmentDetails(node) for name, node in self.document.fragments.items()},
            root_value=self.root_value,
            context_value=self.context,
            operation=self.definition,
            variable_values=self.variables,
            field_resolver=default_field_resolver,
            type_resolver=default_type_resolver,
            subscribe_field_resolver=default_field_resolver,
            is_awaitable=cast("Any", optimized_is_awaitable),
            hide_suggestions=self.hide_suggestions,
        )
