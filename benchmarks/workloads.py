"""What is asked of every server: one operation each, in the words of its own schema."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from graphql import OperationDefinitionNode, parse, print_ast

from benchmarks.data import Trader
from benchmarks.load import Request, post

_OPERATIONS = Path(__file__).parent / "operations"
_LIMITS = {
    "maxDailyLoss": "1250.50",
    "maxPositionSize": "2.5",
    "maxOpenPositions": 7,
    "riskPerTrade": "0.0125",
}


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of request, and how much of it makes a round."""

    name: str
    operation: str
    """Its name in `operations/*.graphql`."""
    requests: int
    what: str
    connections: int = 8
    users: int = 8
    """Of how many traders the connections are, each with tokens and variables of their own."""


WORKLOADS = (
    Workload("small", "Small", 2500, "the viewer and 3 accounts"),
    Workload("crowd", "Small", 2500, "the same, of 32 users at once", connections=32, users=32),
    Workload("deep", "Deep", 250, "3 accounts, 30 sessions, 600 trades of 9 fields"),
    Workload("page", "Page", 1000, "100 trades, filtered and ordered, and how many there are"),
    # The newest of all trades are the first trader's, and a server without tenants finds no other's.
    Workload(
        "to-one", "ToOne", 1000, "100 trades with their strategy's name and their account's number", users=1
    ),
    Workload("lists", "Lists", 150, "50 strategies with 30 performance records each"),
    # A user for each connection: nobody waits for another's lock.
    Workload("mutation", "Mutation", 1000, "updateRiskSettings, with its line of audit"),
)


@cache
def operations(server: str) -> Mapping[str, OperationDefinitionNode]:
    """A server's operations by name."""
    document = parse((_OPERATIONS / f"{server}.graphql").read_text())
    return {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, OperationDefinitionNode) and definition.name
    }


def parameters(server: str, operation: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """A GraphQL request's parameters, with those of `variables` that the operation declares."""
    definition = operations(server)[operation]
    declared = {each.variable.name.value for each in definition.variable_definitions or ()}
    return {
        "query": print_ast(definition),
        "variables": {name: value for name, value in variables.items() if name in declared},
    }


def requests(
    server: str, workload: Workload, traders: Sequence[Trader], headers: Mapping[str, dict[str, str]]
) -> Sequence[Request]:
    """The requests of a workload, one for each of its users; `headers` are those of each e-mail."""
    found = []
    for trader in traders[: workload.users]:
        variables = {
            "user": trader.user,
            "account": trader.accounts[0],
            "strategy": trader.strategy,
            "symbol": "EURUSD",
            **_LIMITS,
        }
        body = json.dumps(parameters(server, workload.operation, variables)).encode()
        found.append(Request(post("/graphql", body, headers[trader.email])))
    return found
