"""docs/statistics.md says what the schema says, and its worked example is what the service answers."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from graphql_api.schema import schema
from tests import factories
from tests.graph import Graph, trader

DOCUMENT = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()

QUERY = """
query ($id: ID!) { account(id: $id) { stats {
  tradesCount excludedTrades wins losses breakeven winRate grossProfit grossLoss netPnl profitFactor
  expectancy averageWin averageLoss volume averageDuration averageDurationSeconds maxDrawdown maxDrawdownPct
  exposure { symbol openTrades buySize sellSize netSize entryNotional }
  whole: equityCurve { time netPnl cumulativePnl equity drawdown tradesCount }
  thin: equityCurve(maxPoints: 3) { time netPnl cumulativePnl equity drawdown tradesCount }
} } }
"""


def table(heading: str) -> list[dict[str, str]]:
    """The table under a heading of the document: rows by column."""
    section = DOCUMENT.partition(f"# {heading}\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    names, _, *rows = cells
    return [dict(zip(names, row, strict=True)) for row in rows]


def texts(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """An answer's rows, as a document writes them."""
    return [{name: str(value) for name, value in row.items()} for row in rows]


@pytest.fixture
async def answer(graph: Graph, connection: "asyncpg.Connection") -> Any:
    """What the service says of the document's trades."""
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    sessions = {
        name: await factories.session(connection, account, initial_balance=Decimal(balance))
        for name, balance in (("A", 1000), ("B", 1500))
    }
    for row in table("The trades"):
        times = (
            row[name] and datetime.fromisoformat(row[name]).replace(tzinfo=UTC) for name in ("Entry", "Exit")
        )
        entry, exit_ = times
        await factories.trade(
            connection,
            sessions[row["Session"]],
            symbol=row["Symbol"],
            direction=row["Direction"],
            size=Decimal(row["Size"]),
            entry_price=Decimal(row["Entry price"]),
            entry_time=entry,
            exit_time=exit_ or None,
            pnl=Decimal(row["Pnl"]) if row["Pnl"] else None,
            status=row["Status"],
        )
    found = await graph.as_(trader(user)).ask(QUERY, {"id": account})
    return found.data["account"]["stats"]


def test_the_definitions_are_the_schemas_own() -> None:
    fields = schema.get_type_by_name("TradeStats").fields  # type: ignore[union-attr]
    described = {schema.config.name_converter.from_field(field): field.description for field in fields}

    assert {row["Field"]: row["Definition"].strip() for row in definitions()} == described


def definitions() -> list[dict[str, str]]:
    """The table of definitions, with the marks of code that the descriptions have too."""
    section = DOCUMENT.partition("# Definitions\n")[2].partition("\n#")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return [{"Field": field.strip("`"), "Definition": definition} for field, definition in rows]


async def test_the_worked_results_are_the_services_own(answer: Any) -> None:
    results = table("The results")

    assert len(results) == 18
    assert {row["Field"]: str(answer[row["Field"]]) for row in results} == {
        row["Field"]: row["Value"] for row in results
    }


@pytest.mark.parametrize(
    ("heading", "field"),
    [("The exposure", "exposure"), ("The curve by day", "whole"), ("The curve in three points", "thin")],
)
async def test_the_worked_tables_are_the_services_own(answer: Any, heading: str, field: str) -> None:
    assert table(heading) == texts(answer[field])
