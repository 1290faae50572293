"""From query text to a validated document, once for each text."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    ASTValidationRule,
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    ValuesOfCorrectTypeRule,
    parse,
    specified_rules,
    validate,
)
from graphql.validation.rules import overlapping_fields_can_be_merged
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from graphql_api.execution.inputs import InputsRule
from graphql_api.execution.limits import LIMIT_EXCEEDED, LimitError
from graphql_api.execution.validation_rules import NoNulRule

MAX_VALIDATION_STEPS = 30_000
"""Comparisons of fields that may have to be merged, some 0.1 s: enough for fifty fragments side by side."""
# graphql-core allows ten times as many, and reads its own bound anew for each document.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = MAX_VALIDATION_STEPS

_TOO_MANY_TOKENS = "Syntax Error: Document contains more than"
_ABORTED = "Validation aborted."

Rules = Sequence[type[ASTValidationRule]]
Guard = Callable[[DocumentNode], Sequence[GraphQLError]]
"""Refuses a document before validation, whose rules can take more than linear time."""


class RequestError(Exception):
    """A request that can't be executed: it doesn't parse, doesn't validate, or names no operation.

    `errors` are for the client as they are.
    """

    def __init__(self, code: str, errors: Sequence[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        for error in errors:
            error.extensions = {"code": code, **(error.extensions or {})}
        self.errors = errors


def name_of(definition: OperationDefinitionNode) -> str | None:
    """What an operation is called, by which a document and what is kept with it know it."""
    return definition.name.value if definition.name else None


@dataclass(frozen=True, eq=False, slots=True)
class Document:
    """A valid document."""

    ast: DocumentNode
    operations: Mapping[str | None, OperationDefinitionNode]
    """By name; None for the one that has no name."""
    fragments: Mapping[str, FragmentDefinitionNode]
    plans: dict[str | None, Any] = field(default_factory=dict, repr=False)
    """What `plans` keeps of each operation, by its name, for as long as the document is kept."""
    costs: dict[str | None, Any] = field(default_factory=dict, repr=False)
    """What `costs` keeps of each, likewise."""
    variables: dict[str | None, Any] = field(default_factory=dict, repr=False)
    """What `variables` keeps of each, likewise."""

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation to run. Raises RequestError where the name doesn't say which."""
        if name is not None:
            if name in self.operations:
                return self.operations[name]
            message = f"Unknown operation named '{name}'."
        elif len(self.operations) == 1:
            return next(iter(self.operations.values()))
        elif self.operations:
            message = "Must provide operation name if query contains multiple operations."
        else:
            message = "Must provide an operation."
        raise RequestError("OPERATION_RESOLUTION_FAILURE", [GraphQLError(message)])


class Documents:
    """Parses and validates, and remembers the documents that passed, least recently used first to go.

    What failed isn't remembered: a flood of broken documents would push the good ones out. The bound is on
    characters, since a document takes memory in proportion to its text.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        *,
        rules: Rules = (),
        guard: Guard | None = None,
        max_characters: int = 15_000,
        max_tokens: int = 2_000,
        max_errors: int = 100,
        capacity: int = 2_000_000,
        suggestions: bool = True,
    ) -> None:
        self._schema = schema
        self._rules = (
            *(InputsRule if rule is ValuesOfCorrectTypeRule else rule for rule in specified_rules),
            MaybeNullValidationRule,
            OneOfInputValidationRule,
            NoNulRule,
            *rules,
        )
        self._guard = guard
        self._max_characters = max_characters
        self._max_tokens = max_tokens
        self._max_errors = max_errors
        self._capacity = capacity
        self._suggestions = suggestions
        self._documents: OrderedDict[str, Document] = OrderedDict()
        self._characters = 0
        self.hits = 0
        self.misses = 0

    def knows(self, text: str) -> bool:
        """Whether a document is kept, so that it needn't be read."""
        return text in self._documents

    def get(self, text: str) -> Document:
        """The document of `text`. Raises RequestError if it breaks the grammar, a rule or a limit."""
        document = self._documents.get(text)
        if document is not None:
            self.hits += 1
            self._documents.move_to_end(text)
            return document
        self.misses += 1
        document = self._read(text)
        self._documents[text] = document
        self._characters += len(text)
        while self._characters > self._capacity:
            evicted, _ = self._documents.popitem(last=False)
            self._characters -= len(evicted)
        return document

    def _read(self, text: str) -> Document:
        if len(text) > self._max_characters:
            raise RequestError(LIMIT_EXCEEDED, [LimitError("characters", self._max_characters, len(text))])
        try:
            ast = parse(text, max_tokens=self._max_tokens)
        except GraphQLError as error:
            too_many = error.message.startswith(_TOO_MANY_TOKENS)
            reason = LimitError("tokens", self._max_tokens) if too_many else error
            raise RequestError("GRAPHQL_PARSE_FAILED", [reason]) from None
        errors = self._guard(ast) if self._guard is not None else ()
        if not errors:
            errors = validate(
                self._schema,
                ast,
                self._rules,
                max_errors=self._max_errors - 1,  # one more says that there were too many
                hide_suggestions=not self._suggestions,
            )
            if errors and errors[-1].message == _ABORTED:
                errors = [LimitError("validation steps", MAX_VALIDATION_STEPS)]
        if errors:
            raise RequestError("GRAPHQL_VALIDATION_FAILED", errors)
        operations = {
            name_of(definition): definition
            for definition in ast.definitions
            if isinstance(definition, OperationDefinitionNode)
        }
        fragments = {
            definition.name.value: definition
            for definition in ast.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        return Document(ast, operations, fragments)
