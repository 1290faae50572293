"""Whoever makes the service build statements pays for them, though the document is known."""

import random

from graphql_api.execution.costs import POINT
from graphql_api.gateway.gateway import _PLANNING
from graphql_api.identity.viewer import Scope
from tests.app import App

COLUMNS = (
    *("symbol", "direction", "directionRaw", "size", "entryPrice", "exitPrice", "entryTime", "exitTime"),
    *("pnl", "status", "statusRaw", "duration", "aiConfidence"),
)


async def test_each_outcome_of_a_documents_conditions_pays_for_its_statement(app: App) -> None:
    declared = ", ".join(f"${name}: Boolean!" for name in COLUMNS)
    columns = " ".join(f"{name} @include(if: ${name})" for name in COLUMNS)
    query = f"query ({declared}) {{ trades(first: 1) {{ nodes {{ id {columns} }} }} }}"
    token = await app.token(Scope.GRAPH_READ_ANY)
    chance = random.SystemRandom()  # so that no other test has asked for the same columns
    for _ in range(3):
        variables = {name: chance.random() < 0.5 for name in COLUMNS}
        answer = (await app.ask(query, variables, token=token, extensions={"cost": True})).json()
        assert "errors" not in answer
        cost = answer["extensions"]["cost"]
        assert cost["requested"] + cost["charged"] >= _PLANNING / POINT
        assert cost["charged"] > 0
