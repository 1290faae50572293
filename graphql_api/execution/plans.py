"""The plans of a document's operations, compiled when they are first run and kept with the document."""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Any

from graphql import GraphQLSchema

from graphql_api.execution.compiler import Compiler
from graphql_api.execution.document_facts import Scan, scan
from graphql_api.execution.documents import name_of
from graphql_api.execution.input_conversion import Inputs
from graphql_api.execution.invocation import Invocation
from graphql_api.execution.plan import Plan

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
