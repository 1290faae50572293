"""An operation that needs new statements pays for them, although its document is known."""

import random

import pytest

from graphql_api.execution.costs import POINT
from graphql_api.gateway.gateway import _PLANNING
from graphql_api.identity.viewer import Scope
from tests.app import App

COLUMNS = (
    *("startedAt", "endedAt", "isRunning", "initialBalance", "finalBalance", "pnl", "tradesCount"),
    *("duration", "account { id }"),
)


@pytest.mark.usefixtures("compiled")
async def test_each_outcome_of_a_documents_conditions_pays_for_its_statement(app: App) -> None:
    declared = ", ".join(f"$v{number}: Boolean!" for number in range(len(COLUMNS)))
    columns = " ".join(
        f"... @include(if: $v{number}) {{ {column} }}" for number, column in enumerate(COLUMNS)
    )
    query = f"query ({declared}) {{ sessions(first: 1) {{ nodes {{ id {columns} }} }} }}"
    token = await app.token(Scope.GRAPH_READ_ANY)
    paid = []
    for _ in range(8):
        variables = {f"v{number}": random.random() < 0.5 for number in range(len(COLUMNS))}
        answer = (await app.ask(query, variables, token=token, extensions={"cost": True})).json()
        assert "errors" not in answer
        cost = answer["extensions"]["cost"]
        assert cost["requested"] < _PLANNING / POINT
        paid.append(cost["requested"] + cost["charged"] >= _PLANNING / POINT)
    assert paid.count(True) >= 5  # some of these columns may have been selected together before
