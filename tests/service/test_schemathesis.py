"""Documents that Schemathesis generates from the schema never cause an unexpected error."""

import asyncio
from typing import Any

import asyncpg
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.core.result import Ok
from schemathesis.graphql import nodes

from graphql_api.identity import service_tokens
from graphql_api.identity.viewer import Scope
from tests import factories
from tests.service.conftest import Service

pytestmark = pytest.mark.slow

TIMES = st.one_of(st.datetimes().map(lambda time: f"{time.isoformat()}Z"), st.text(max_size=30))
NUMBERS = st.one_of(st.decimals(allow_nan=True).map(str), st.text(max_size=30))
schemathesis.graphql.scalar("DateTime", TIMES.map(nodes.String))
schemathesis.graphql.scalar("Decimal", NUMBERS.map(nodes.String))


MANY = pytest.param(500, marks=[pytest.mark.drill, pytest.mark.timeout(3600)])


@pytest.mark.parametrize("examples", [8, MANY])
async def test_whatever_is_asked_nothing_breaks(
    service: Service, connection: "asyncpg.Connection", examples: int
) -> None:
    # No login's token: one of the fields is logout.
    scopes = (Scope.GRAPH_READ_ANY, Scope.RISK_WRITE_ANY, Scope.LOGS_READ)
    made = await service_tokens.create(service.database, "test", scopes, user_id=None, lifetime=None)
    user = await factories.user(connection)
    session = await factories.session(connection, await factories.account(connection, user))
    await factories.trade(connection, session, strategy_id=await factories.strategy(connection))

    assert await asyncio.to_thread(ask_everything, service.url, made.text, examples) >= 20
    assert "incident" not in service.log.read_text()


def ask_everything(url: str, token: str, examples: int) -> int:
    """Queries each root field in as many ways as `examples`, and returns the number of fields."""
    headers = {"authorization": f"Bearer {token}"}
    asked = 0
    for found in schemathesis.graphql.from_url(url).get_all_operations():
        assert isinstance(found, Ok)

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=found.ok().as_strategy())
        def ask(case: Any) -> None:
            response = case.call(headers=headers, timeout=100)
            assert response.status_code < 500, (case.body, response.text)
            errors = response.json().get("errors", [])
            codes = {error["extensions"]["code"] for error in errors}
            assert "INTERNAL_SERVER_ERROR" not in codes, (case.body, response.text)

        ask()
        asked += 1
    return asked
