"""Parses and validates query text, and caches the document by its text."""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, cast

from cachetools import LRUCache
from graphql import (
    ArgumentNode,
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    ObjectFieldNode,
    OperationDefinitionNode,
    Source,
    SourceLocation,
    StringValueNode,
    ValidationRule,
    ValuesOfCorrectTypeRule,
    parse,
    specified_rules,
    validate,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.validation.rules import overlapping_fields_can_be_merged
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from graphql_api.execution.analysis import (
    FragmentCycleError,
    NestingError,
    OperationAnalysis,
    RequestLimits,
    SelectionsError,
    analyze,
    exceeded,
)
from graphql_api.execution.costs import NO_BASE, BaseCost, CostRules
from graphql_api.execution.errors import (
    LIMIT_EXCEEDED,
    NOT_EXPLICITLY_NULL,
    OPERATION_RESOLUTION_FAILURE,
    PARSE_FAILED,
    VALIDATION_FAILED,
    LimitError,
    RequestError,
    cut,
)
from graphql_api.execution.inputs import InputsRule, Variables

MAX_VALIDATION_STEPS: Final = 30_000
"""Comparisons of fields that may have to be merged, which take some 0.1 s: enough for fifty fragments."""
# graphql-core allows ten times as many, and reads this bound for each document.
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = MAX_VALIDATION_STEPS

MAX_MEMORY: Final = 64 * 1024 * 1024
"""Bytes of documents that are cached: some thousand documents of the size that applications have."""
_DOCUMENT_SIZE = 4_000
_TOKEN_SIZE = 600
"""Bytes that a document takes, and that each of its tokens takes: measured, and rounded up."""

_LINE_END = re.compile(r"\r\n|[\n\r]")
_TOO_MANY_TOKENS = "Syntax Error: Document contains more than"
_ABORTED = "Validation aborted."


class DocumentSource(Source):
    """The text of a document. Finds where its lines begin once; graphql-core does so for each error."""

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in _LINE_END.finditer(self.body))]

    def get_location(self, position: int) -> SourceLocation:
        """Returns the line and the column of a position, both counted from 1."""
        line = bisect_right(self._line_starts, position)
        return SourceLocation(line, position + 1 - self._line_starts[line - 1])


class NoNulRule(ValidationRule):
    """The rule that strings have no NUL, which PostgreSQL's text can't hold."""

    def enter_string_value(self, node: StringValueNode, *_args: Any) -> None:
        """Checks one string literal."""
        if "\0" in node.value:
            self.report_error(GraphQLError("text can't contain NUL (\\u0000)", node))


class MaybeNullRule(MaybeNullValidationRule):
    """Strawberry's rule for arguments that may be left out but not be null, in GraphQL's words."""

    def report_error(self, error: GraphQLError) -> None:
        """Reports the argument or input field that is null."""
        (node,) = cast("Sequence[ArgumentNode | ObjectFieldNode]", error.nodes)
        name = node.name.value
        super().report_error(GraphQLError(f"'{name}' {NOT_EXPLICITLY_NULL}", node))


@dataclass(frozen=True, eq=False, slots=True)
class ParsedOperation:
    """One operation of a valid document, and what is cached with it as long as the document is."""

    definition: OperationDefinitionNode
    analysis: OperationAnalysis
    variables: Variables
    fragments: Mapping[str, FragmentDetails]
    """Those of the document."""

    @property
    def text(self) -> str:
        """The text of the document."""
        location = self.definition.loc
        return location.source.body if location else ""


@dataclass(frozen=True, eq=False, slots=True)
class Document:
    """A valid document."""

    operations: Mapping[str | None, ParsedOperation]
    """By name; None for the one that has no name."""
    memory: int
    """About how many bytes it takes."""

    def operation(self, name: str | None) -> ParsedOperation:
        """Returns the operation to run. Raises RequestError where the name doesn't say which."""
        if name is not None:
            if name in self.operations:
                return self.operations[name]
            message = f"Unknown operation named '{cut(name)}'."
        elif len(self.operations) == 1:
            return next(iter(self.operations.values()))
        elif self.operations:
            message = "Must provide operation name if query contains multiple operations."
        else:
            message = "Must provide an operation."
        raise RequestError(OPERATION_RESOLUTION_FAILURE, [GraphQLError(message)])


class Documents:
    """Parses and validates documents, and caches those that are valid.

    Invalid documents aren't cached: a flood of them would push the valid ones out. The bound is on the memory
    that parsed documents take, hundreds of times that of a short text. The least recently used document is
    dropped first.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        *,
        limits: RequestLimits | None = None,
        cost_rules: CostRules | None = None,
        base_cost: BaseCost = NO_BASE,
        introspection: bool = True,
        capacity: int = MAX_MEMORY,
    ) -> None:
        """Without `introspection`, errors don't suggest names either. `capacity` is in bytes."""
        self._schema = schema
        self._limits = limits or RequestLimits()
        self._cost_rules = cost_rules or {}
        self._base_cost = base_cost
        self._rules = (
            *(InputsRule if rule is ValuesOfCorrectTypeRule else rule for rule in specified_rules),
            MaybeNullRule,
            OneOfInputValidationRule,
            NoNulRule,
            *(() if introspection else (NoSchemaIntrospectionCustomRule,)),
        )
        self._hide_suggestions = not introspection
        self._documents: LRUCache[str, Document] = LRUCache(
            capacity, getsizeof=lambda document: document.memory
        )
        self.hits = 0
        self.misses = 0

    def __contains__(self, text: str) -> bool:
        """Whether a document is cached, so that it needn't be parsed."""
        return text in self._documents

    def get(self, text: str) -> Document:
        """Returns the document of `text`. Raises RequestError if it breaks the grammar, a rule or a limit."""
        try:
            document = self._documents[text]  # with half the function calls of the cache's own `get`
        except KeyError:
            self.misses += 1
        else:
            self.hits += 1
            return document
        ast = self._parse(text)
        analyses = self._analyze(ast)
        self._validate(ast)
        _unlink_tokens(ast)
        fragments = {
            definition.name.value: FragmentDetails(definition)
            for definition in ast.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        operations = {
            definition.name.value if definition.name else None: ParsedOperation(
                definition,
                analysis,
                Variables(self._schema, definition, hide_suggestions=self._hide_suggestions),
                fragments,
            )
            for definition, analysis in analyses
        }
        document = Document(operations, _DOCUMENT_SIZE + len(text) + ast.token_count * _TOKEN_SIZE)
        if document.memory <= self._documents.maxsize:
            self._documents[text] = document
        return document

    def _parse(self, text: str) -> DocumentNode:
        limits = self._limits
        if len(text) > limits.characters:
            raise RequestError(LIMIT_EXCEEDED, [LimitError("characters", limits.characters, len(text))])
        try:
            return parse(DocumentSource(text), max_tokens=limits.tokens)
        except GraphQLError as error:
            if error.message.startswith(_TOO_MANY_TOKENS):
                error = LimitError("tokens", limits.tokens, source=error.source, positions=error.positions)
            raise RequestError(PARSE_FAILED, [error]) from None

    def _analyze(self, ast: DocumentNode) -> list[tuple[OperationDefinitionNode, OperationAnalysis]]:
        try:
            analyses = analyze(ast, self._schema, self._cost_rules, self._base_cost)
        except (FragmentCycleError, NestingError) as error:
            raise RequestError(VALIDATION_FAILED, [error]) from None
        except SelectionsError as error:
            raise RequestError(LIMIT_EXCEEDED, [error]) from None
        errors = [
            error
            for definition, analysis in analyses
            for error in exceeded(analysis, self._limits, definition)
        ]
        if errors:
            raise RequestError(LIMIT_EXCEEDED, errors)
        return analyses

    def _validate(self, ast: DocumentNode) -> None:
        errors = validate(
            self._schema,
            ast,
            self._rules,
            max_errors=self._limits.errors - 1,  # one more says that there were too many
            hide_suggestions=self._hide_suggestions,
        )
        if errors and errors[-1].message == _ABORTED:
            errors = [LimitError("validation steps", MAX_VALIDATION_STEPS)]
        if errors:
            raise RequestError(VALIDATION_FAILED, errors)


def _unlink_tokens(ast: DocumentNode) -> None:
    """Breaks the reference cycles of tokens, so that a document is freed without garbage collection."""
    token = ast.loc.start_token if ast.loc else None
    while token is not None:
        token.prev = None
        token = token.next
