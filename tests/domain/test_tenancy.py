"""Tenants never see each other: another's id answers exactly as one that doesn't exist."""

from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from graphql_api.identity.viewer import LoginCredential, Scope, ServiceTokenCredential, Viewer
from tests import factories
from tests.graph import Graph, operator, trader

UNKNOWN = "00000000-0000-0000-0000-000000000009"


@dataclass
class Tenant:
    """A user with one row of everything."""

    user: str
    account: str
    session: str
    trade: str
    risk_settings: str


async def tenant(connection: "asyncpg.Connection", strategy: str) -> Tenant:
    user = await factories.user(connection)
    account = await factories.account(connection, user, account_number="L#same-for-all")
    session = await factories.session(connection, account)
    trade = await factories.trade(connection, session, strategy_id=strategy)
    return Tenant(user, account, session, trade, await factories.risk_settings(connection, account))


@dataclass
class World:
    """Two tenants that share a strategy."""

    graph: Graph
    own: Tenant
    other: Tenant
    strategy: str


@pytest.fixture
async def world(graph: Graph, connection: "asyncpg.Connection") -> World:
    strategy = await factories.strategy(connection)
    own, other = await tenant(connection, strategy), await tenant(connection, strategy)
    return World(graph.as_(trader(own.user)), own, other, strategy)


BY_ID = {
    "user": "query ($id: ID!) { found: user(id: $id) { id email } }",
    "account": "query ($id: ID!) { found: account(id: $id) { id server } }",
    "session": "query ($id: ID!) { found: session(id: $id) { id startedAt } }",
    "trade": "query ($id: ID!) { found: trade(id: $id) { id symbol } }",
}


@pytest.mark.parametrize("kind", BY_ID)
async def test_a_root_field_finds_only_what_is_the_viewers(world: World, kind: str) -> None:
    own = await world.graph.ask(BY_ID[kind], {"id": getattr(world.own, kind)})
    other = await world.graph.ask(BY_ID[kind], {"id": getattr(world.other, kind)})
    unknown = await world.graph.ask(BY_ID[kind], {"id": UNKNOWN})

    assert own.data["found"]["id"] == getattr(world.own, kind)
    assert other.body == unknown.body == {"data": {"found": None}}


@pytest.mark.parametrize("kind", [*BY_ID, "risk_settings"])
async def test_node_finds_only_what_is_the_viewers(world: World, kind: str) -> None:
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    ids = [getattr(world.own, kind), getattr(world.other, kind), UNKNOWN]
    answer = await world.graph.ask(query, {"ids": ids})

    assert answer.data["nodes"] == [{"id": ids[0]}, None, None]


@pytest.mark.parametrize("field", ["users", "accounts", "sessions", "trades"])
async def test_a_list_holds_only_what_is_the_viewers(world: World, field: str) -> None:
    answer = await world.graph.ask(f"{{ {field} {{ totalCount nodes {{ id }} }} }}")

    own = getattr(world.own, field.removesuffix("s"))
    assert answer.data[field] == {"totalCount": 1, "nodes": [{"id": own}]}


@pytest.mark.parametrize(
    ("field", "key"), [("accountId", "account"), ("sessionId", "session"), ("strategyId", "")]
)
async def test_a_filter_opens_no_other_tenant(world: World, field: str, key: str) -> None:
    value = getattr(world.other, key) if key else world.strategy
    query = "query ($filter: TradeFilter) { trades(filter: $filter) { totalCount nodes { id } } }"
    answer = await world.graph.ask(query, {"filter": {field: value}})

    assert answer.data["trades"]["totalCount"] == (0 if key else 1)


async def test_a_shared_strategy_shows_only_the_viewers_trades(world: World) -> None:
    query = "query ($id: ID!) { strategy(id: $id) { trades { totalCount nodes { id } } } }"
    answer = await world.graph.ask(query, {"id": world.strategy})

    assert answer.data["strategy"]["trades"] == {"totalCount": 1, "nodes": [{"id": world.own.trade}]}


async def test_the_view_by_account_number_shows_only_the_viewers_sessions(world: World) -> None:
    answer = await world.graph.ask("{ accountPerformance { accountNumber session { id } } }")

    assert answer.data["accountPerformance"] == [
        {"accountNumber": "L#same-for-all", "session": {"id": world.own.session}}
    ]


CHANGES = {
    "setRiskSettings": 'input: {maxDailyLoss: "1"}',
    "updateRiskSettings": 'input: {maxDailyLoss: "1"}',
    "resetRiskSettings": "",
}


@pytest.mark.parametrize("mutation", CHANGES)
async def test_a_mutation_treats_anothers_account_as_unknown(
    world: World, mutation: str, connection: "asyncpg.Connection"
) -> None:
    query = (
        f"mutation ($id: ID!) {{ changed: {mutation}(accountId: $id, {CHANGES[mutation]})"
        " { riskSettings { id } account { id } userErrors { code message field } } }"
    )
    before = await connection.fetch("SELECT * FROM risk_settings ORDER BY id")
    other = await world.graph.ask(query, {"id": world.other.account})
    unknown = await world.graph.ask(query, {"id": UNKNOWN})

    assert other.body == unknown.body
    assert other.data["changed"] == {
        "riskSettings": None,
        "account": None,
        "userErrors": [
            {"code": "NOT_FOUND", "message": "there is no account with this id", "field": ["accountId"]}
        ],
    }
    assert await connection.fetch("SELECT * FROM risk_settings ORDER BY id") == before


@pytest.mark.parametrize("scopes", [{Scope.RISK_WRITE}, {Scope.RISK_WRITE_ANY}], ids=str)
@pytest.mark.parametrize("user", ["own", "other", None])
async def test_what_a_service_cant_see_it_cant_change(
    world: World, scopes: set[Scope], user: str | None, connection: "asyncpg.Connection"
) -> None:
    user_id = None if user is None else getattr(world, user).user
    credential = ServiceTokenCredential(b"service")
    service = world.graph.as_(Viewer(user_id=user_id, credential=credential, scopes=frozenset(scopes)))
    query = """
      mutation ($id: ID!) {
        updateRiskSettings(accountId: $id, input: {maxDailyLoss: "1"}) {
          riskSettings { maxPositionSize } userErrors { code }
        }
      }
    """
    before = await connection.fetch("SELECT * FROM risk_settings ORDER BY id")
    for account in (world.own.account, UNKNOWN):
        answer = await service.ask(query, {"id": account})
        assert answer.data["updateRiskSettings"] == {
            "riskSettings": None,
            "userErrors": [{"code": "NOT_FOUND"}],
        }
    assert await connection.fetch("SELECT * FROM risk_settings ORDER BY id") == before


async def test_an_operator_reads_every_tenant_and_changes_none(world: World) -> None:
    graph = world.graph.as_(operator(world.own.user))
    query = """
      mutation ($id: ID!) {
        resetRiskSettings(accountId: $id) { account { id } userErrors { code field } }
      }
    """
    answer = await graph.ask(query, {"id": world.other.account})

    assert (await graph.ask("{ trades { totalCount } }")).data["trades"]["totalCount"] == 2
    assert answer.data["resetRiskSettings"] == {
        "account": {"id": world.other.account},
        "userErrors": [{"code": "FORBIDDEN", "field": ["accountId"]}],
    }


async def test_rows_without_an_owner_are_the_operators_alone(
    world: World, connection: "asyncpg.Connection"
) -> None:
    orphan = await factories.trade(connection, None)
    query = "query ($id: ID!) { trade(id: $id) { id session { id } } }"

    assert (await world.graph.ask(query, {"id": orphan})).data["trade"] is None
    found = (await world.graph.as_(operator()).ask(query, {"id": orphan})).data["trade"]
    assert found == {"id": orphan, "session": None}


ROOTS: dict[str, Any] = {
    "viewer": "{ viewer { roles } }",
    "user": BY_ID["user"],
    "node": "query ($id: ID!) { node(id: $id) { id } }",
    "trades": "{ trades { totalCount } }",
    "strategies": "{ strategies { totalCount } }",
    "activeStrategiesPerformance": "{ activeStrategiesPerformance { id } }",
    "accountPerformance": "{ accountPerformance { accountNumber } }",
    "systemLogs": "{ systemLogs { totalCount } }",
    "resetRiskSettings": "mutation ($id: ID!) { resetRiskSettings(accountId: $id) { userErrors { code } } }",
}


@pytest.mark.parametrize("root", ROOTS)
async def test_nobody_reads_or_changes_anything(graph: Graph, root: str) -> None:
    answer = await graph.ask(ROOTS[root], {"id": UNKNOWN})

    assert answer.error["extensions"]["code"] == "UNAUTHENTICATED"
    assert answer.statements == 0


@pytest.mark.parametrize("query", ["{ systemLogs { totalCount } }", "{ systemLogs { nodes { id } } }"])
async def test_the_log_needs_its_scope(world: World, query: str) -> None:
    answer = await world.graph.ask(query)

    assert answer.error["extensions"] == {"code": "FORBIDDEN", "scope": "logs:read"}
    assert answer.statements == 0


async def test_a_log_line_is_no_node_without_its_scope(
    world: World, connection: "asyncpg.Connection"
) -> None:
    line = await factories.system_log(connection)
    query = "query ($id: ID!) { node(id: $id) { id } }"

    assert (await world.graph.ask(query, {"id": line})).data["node"] is None
    assert (await world.graph.as_(operator()).ask(query, {"id": line})).data["node"] == {"id": line}


@pytest.mark.parametrize("scopes", [[], [Scope.LOGS_READ], [Scope.RISK_WRITE]], ids=str)
async def test_a_service_without_the_scope_sees_nothing_of_the_graph(
    world: World, scopes: list[Scope]
) -> None:
    service = world.graph.as_(Viewer(credential=LoginCredential("service"), scopes=frozenset(scopes)))

    for root in ("users", "trades", "strategies"):
        answer = await service.ask(f"{{ {root} {{ totalCount }} }}")
        assert answer.error["extensions"] == {"code": "FORBIDDEN", "scope": "graph:read"}
    nodes = await service.ask(
        "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", {"ids": [world.own.trade, world.strategy]}
    )
    assert nodes.data["nodes"] == [None, None]
