"""By no path does a viewer see another tenant's rows, or learn that there are any.

Every question that the schema allows is asked before a tenant is there and again afterwards: anyone else's
answers must be the same to the letter, and show none of the tenant's values.
"""

import asyncio
import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import _lru_cache_wrapper
from typing import Any

import asyncpg
import orjson
import pytest
from sqlalchemy import Select

from graphql_api.domain.account_changes import ChangeFilter
from graphql_api.identity.viewer import ANONYMOUS, Scope, ServiceTokenCredential, Viewer
from graphql_api.relational.entity import Entity
from tests import factories
from tests.graph import Graph, operator, trader
from tests.security.tenants import TABLES, Tenant
from tests.security.walk import (
    Question,
    ask_all,
    every_change,
    every_filter,
    every_path,
    every_subscription,
    follow_all,
    unlimited,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HIDDEN = {"users.password_hash", "tradelocker_accounts.api_key"}
SEARCHED = {"users.email", "tradelocker_accounts.account_number", "trades.symbol", "trades.status"}


@dataclass
class World:
    """A tenant whose queries are sent, and one who is not there yet."""

    graph: Graph
    connection: "asyncpg.Connection"
    own: Tenant
    other: Tenant
    strategy: str

    @property
    def ids(self) -> Mapping[str, Sequence[str]]:
        """The ids of both tenants and of what they share, by type."""
        both = {type_: [self.own.ids()[type_], self.other.ids()[type_]] for type_ in TABLES}
        return both | {"Strategy": [self.strategy]}

    def questions(self, depth: int) -> list[Question]:
        """Everything, as deep as that."""
        texts = [marker for marker, column in self.other.markers() if column in SEARCHED]
        changes = every_change(self.other.ids()["Account"])
        return [*every_path(depth, self.ids), *every_filter(texts, self.ids), *changes]

    async def learned(self, viewer: Viewer, depth: int) -> dict[str, Any]:
        """By question, what is shown of the other tenant; or nothing, and yet the answer changed.

        Under "rows": the other tenant's, if a mutation has changed them.
        """
        graph, questions = self.graph.as_(viewer), self.questions(depth)
        cursor = await self.cursor()
        before = await ask_all(graph, questions) | await self.sent(graph, cursor)
        await self.other.insert(self.connection)
        rows = await self._rows()
        after = await ask_all(graph, questions) | await self.sent(graph, cursor)
        changed = {} if await self._rows() == rows else {"rows": await self._rows()}
        shown = {name: self.other.shown_in(answer) for name, answer in after.items()}
        return changed | {name: shown[name] for name in after if shown[name] or after[name] != before[name]}

    async def cursor(self) -> str:
        """Where events of accounts go on from now."""
        answer = await self.graph.as_(operator()).ask("{ activityCursor }")
        return str(answer.data["activityCursor"])

    async def sent(self, graph: Graph, cursor: str) -> dict[str, str]:
        """What has happened on accounts since a cursor, by subscription; their own cursors left out."""
        accounts = self.ids["Account"]
        found = await follow_all(graph, [*every_subscription(accounts)], cursor)
        for event in (event for events in found.values() for event in events):
            event.pop("cursor", None)
        return {name: orjson.dumps(events).decode() for name, events in found.items()}

    async def _rows(self) -> list[Any]:
        """The other tenant's rows as they are stored."""
        ids = self.other.ids()
        return [
            await self.connection.fetch(f"SELECT * FROM {table.fullname} WHERE id = $1", ids[type_])
            for type_, table in TABLES.items()
        ]


@pytest.fixture
async def world(graph: Graph, connection: "asyncpg.Connection") -> World:
    strategy = await factories.strategy(connection)
    await factories.performance(connection, strategy)
    own, other = Tenant.make("own", strategy), Tenant.make("theirs", strategy)
    await own.insert(connection)
    components = tuple(tenant.rows["SystemLog"]["component"] for tenant in (own, other))
    settings = graph.services.settings.model_copy(update={"trader_log_components": components})
    services = replace(graph.services, settings=settings)
    return World(Graph(services, operations=unlimited()), connection, own, other, strategy)


def service(*scopes: Scope, user_id: str | None = None) -> Viewer:
    return Viewer(user_id=user_id, scopes=frozenset(scopes), credential=ServiceTokenCredential(b"service"))


def test_what_is_planted_can_be_told_apart(world: World) -> None:
    own, other = dict(world.own.markers()), dict(world.other.markers())

    assert len(other) == len(list(world.other.markers()))
    assert not set(own) & set(other)
    assert set(other.values()) > HIDDEN


FAR = 2
DEPTHS = [3, pytest.param(99, marks=pytest.mark.drill)]


@pytest.mark.parametrize("depth", DEPTHS)
async def test_the_walk_comes_by_every_value_that_is_not_hidden(world: World, depth: int) -> None:
    await world.other.insert(world.connection)
    viewer = trader(world.other.ids()["User"])
    answers = await ask_all(world.graph.as_(viewer), world.questions(depth))

    columns = {column for _, column in world.other.markers()}
    assert world.other.shown_in("".join(answers.values())) == columns - HIDDEN


@pytest.mark.parametrize("depth", DEPTHS)
async def test_another_tenant_learns_nothing(world: World, depth: int) -> None:
    assert await world.learned(trader(world.own.ids()["User"]), depth) == {}


async def test_subscriptions_come_by_every_kind_of_row(world: World) -> None:
    cursor = await world.cursor()
    await world.other.insert(world.connection)
    sent = await world.sent(world.graph.as_(trader(world.other.ids()["User"])), cursor)

    columns = {column for _, column in world.other.markers()}
    written = {f"{TABLES[type_].name}.id" for type_ in TABLES if type_ != "User"}
    shown = world.other.shown_in("".join(sent.values()))
    assert shown >= written | {"system_logs.message", "risk_events.id"}
    assert shown <= columns - HIDDEN


async def test_another_tenants_cursor_shows_nothing_of_theirs(world: World) -> None:
    own, other = (world.graph.as_(trader(tenant.ids()["User"])) for tenant in (world.own, world.other))
    start = await world.cursor()
    await world.other.insert(world.connection)
    theirs = [question for question in every_subscription([]) if question.name.startswith("accountActivity")]
    (events,) = (await follow_all(other, theirs[:1], start)).values()
    cursors = [event["cursor"] for event in events]
    assert len(cursors) == len(set(cursors)) > 5
    for cursor in cursors:
        sent = await world.sent(own, cursor)
        assert set(sent.values()) == {"[]"}


async def test_nobody_learns_anything(world: World) -> None:
    assert await world.learned(ANONYMOUS, FAR) == {}


async def test_a_service_without_scopes_learns_nothing(world: World) -> None:
    assert await world.learned(service(), FAR) == {}


async def test_a_service_for_one_user_learns_nothing_of_others(world: World) -> None:
    viewer = service(Scope.GRAPH_READ, Scope.RISK_WRITE, user_id=world.own.ids()["User"])
    assert await world.learned(viewer, FAR) == {}


async def test_a_service_that_reads_logs_learns_nothing_but_the_log(world: World) -> None:
    learned = await world.learned(service(Scope.LOGS_READ), FAR)
    line = world.other.ids()["SystemLog"]
    asked_by_id = {name for name in learned if name.startswith("node ")}
    assert {name.split()[0] for name in learned} == {"systemLogs", "systemLogStats", "node", "nodes"}
    assert {name.split()[-1] for name in asked_by_id} == {line}
    assert set().union(*(learned[name] for name in learned)) == {
        f"system_logs.{column}" for column in ("id", "level", "component", "message")
    } | {"tradelocker_accounts.id"}


async def test_a_service_that_changes_one_users_limits_learns_nothing(world: World) -> None:
    assert await world.learned(service(Scope.RISK_WRITE, user_id=world.own.ids()["User"]), FAR) == {}


async def test_an_operator_reads_every_value_that_is_not_hidden_and_changes_none(world: World) -> None:
    await world.other.insert(world.connection)
    rows = await world._rows()
    answers = await ask_all(world.graph.as_(operator()), world.questions(FAR))

    columns = {column for _, column in world.other.markers()}
    assert world.other.shown_in("".join(answers.values())) == columns - HIDDEN
    assert await world._rows() == rows


async def answered_differently(world: World) -> set[str]:
    """The queries of which the answers differ where several tenants send them at the same time."""
    questions = [*every_path(FAR, world.ids), *every_filter([], world.ids)]
    graphs = [world.graph.as_(trader(tenant.ids()["User"])) for tenant in (world.own, world.other)]
    alone = [await ask_all(graph, questions) for graph in graphs]
    differing = set()
    for question in questions:
        crowd = [*graphs, *graphs, *graphs]
        answers = await asyncio.gather(*(ask_all(graph, [question]) for graph in crowd))
        expected = [answer[question.name] for answer in alone] * 3
        if [answer[question.name] for answer in answers] != expected:
            differing.add(question.name)
    return differing


async def test_tenants_whose_reads_share_a_statement_learn_nothing_of_each_other(world: World) -> None:
    await world.other.insert(world.connection)
    assert await answered_differently(world) == set()
    shared = world.graph.services.database.batched_reads
    assert shared is not None
    assert shared.reads > 100


async def test_the_walk_notices_tenants_that_are_mixed_up_by_one(world: World) -> None:
    await world.other.insert(world.connection)
    shared = world.graph.services.database.batched_reads
    assert shared is not None
    fetch = shared._fetch_by_key

    def mixed_up(statement: Any, keys: Any, tenants: Any, values: Any) -> Any:
        return fetch(statement, keys, [*tenants[1:], *tenants[:1]], values)

    shared._fetch_by_key = mixed_up
    assert len(await answered_differently(world)) > 20


async def test_the_walk_notices_a_feed_that_does_not_ask_whose_a_change_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChangeFilter, "_follows", lambda *_: True)
    learned = await world.learned(trader(world.own.ids()["User"]), 0)
    assert {name.split()[0] for name in learned} == {"accountActivity", "riskStatusChanged"}


@pytest.fixture
def fresh_statements() -> Iterator[None]:
    """Statements compiled by this test alone: none from before, and none left behind."""

    def forget() -> None:
        for cache in gc.get_objects():
            if isinstance(cache, _lru_cache_wrapper) and cache.__module__.startswith("graphql_api"):
                cache.cache_clear()

    forget()
    yield
    forget()


@pytest.mark.usefixtures("fresh_statements")
@pytest.mark.parametrize(
    "place",
    [
        "everywhere",
        "_by_id",
        "_any_by_id",
        "_of_one_parent",
        "_account_sessions",
        "_update_only_row",
        "_lock_statement",
    ],
)
async def test_the_walk_notices_where_a_statement_has_no_tenant(
    world: World, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    restrict = Entity.restrict_to_tenant

    def forgetful(self: Entity, query: Select[Any], *needed: Any, for_tenant: bool) -> Select[Any]:
        caller = sys._getframe(1).f_code.co_name
        return restrict(self, query, *needed, for_tenant=for_tenant and place not in (caller, "everywhere"))

    monkeypatch.setattr(Entity, "restrict_to_tenant", forgetful)
    assert await world.learned(trader(world.own.ids()["User"]), FAR) != {}
