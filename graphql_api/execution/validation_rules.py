"""What a document may not contain, beyond what the GraphQL specification says."""

from typing import Any

from graphql import GraphQLError, StringValueNode, ValidationRule


class NoNulRule(ValidationRule):
    """Text without NUL, which PostgreSQL's text has no room for."""

    def enter_string_value(self, node: StringValueNode, *_args: Any) -> None:
        """Look at one string literal."""
        if "\0" in node.value:
            self.report_error(GraphQLError("text can't contain NUL (\\u0000)", node))
