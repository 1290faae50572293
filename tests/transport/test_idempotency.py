"""Mutations sent again under an Idempotency-Key."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from graphql_api.gateway import idempotency
from graphql_api.identity.viewer import Scope
from graphql_api.postgres.address import Address
from tests import factories
from tests.app import App, codes, served

CHANGE = """
mutation ($id: ID!, $loss: Decimal) {
  updateRiskSettings(accountId: $id, input: {maxDailyLoss: $loss}) {
    riskSettings { maxDailyLoss version } userErrors { code }
  }
}
"""


@dataclass
class Trader:
    """Somebody with an account, who changes its limits."""

    app: App
    connection: "asyncpg.Connection"
    account: str
    token: str

    async def change(self, key: str | None, loss: object = "10", **options: Any) -> httpx.Response:
        headers = {"idempotency-key": key} if key is not None else {}
        variables = {"id": self.account, "loss": loss}
        return await self.app.ask(CHANGE, variables, token=self.token, headers=headers, **options)

    async def changes(self) -> int:
        """How often the limits were changed, by the log that is written with each change."""
        return int(
            await self.connection.fetchval("SELECT count(*) FROM system_logs WHERE component = 'risk'")
        )


async def signed_in(app: App, connection: "asyncpg.Connection") -> Trader:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    token = await app.token(Scope.GRAPH_READ, Scope.RISK_WRITE, user_id=user)
    return Trader(app, connection, account, token)


@pytest.fixture
async def trader(app: App, connection: "asyncpg.Connection") -> Trader:
    return await signed_in(app, connection)


async def test_without_a_key_each_request_is_carried_out(trader: Trader) -> None:
    await trader.change(None)
    await trader.change(None)
    assert await trader.changes() == 2


async def test_under_a_key_it_is_carried_out_once_and_answered_alike(trader: Trader) -> None:
    first, second = await trader.change("key"), await trader.change("key")
    assert first.json()["data"]["updateRiskSettings"]["riskSettings"]["maxDailyLoss"] == "10.00000000"
    assert second.content == first.content
    assert await trader.changes() == 1


async def test_numbers_of_any_length_have_keys(trader: Trader) -> None:
    answers = [await trader.change("key", loss=10**30) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["data"]["updateRiskSettings"]["userErrors"] == [{"code": "OUT_OF_RANGE"}]
    assert answers[1].content == answers[0].content
    assert (await trader.change("key", loss=10**30 + 1)).status_code == 422


async def test_the_cost_of_a_change_under_a_key_is_told(trader: Trader) -> None:
    variables = {"id": trader.account, "loss": "10"}
    headers = {"idempotency-key": "key", "graphql-cost": "1"}
    answers = [await trader.app.ask(CHANGE, variables, token=trader.token, headers=headers) for _ in range(2)]
    assert answers[0].json()["extensions"]["cost"]["requested"] > 0
    assert answers[0].json()["data"] == answers[1].json()["data"]


async def test_an_answer_that_is_too_long_to_be_stored_counts_as_lost(
    trader: Trader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "MAX_ANSWER", 100)
    assert (await trader.change("key")).status_code == 200
    again = await trader.change("key")
    assert (again.status_code, codes(again)) == (409, ["IDEMPOTENCY_ANSWER_LOST"])
    assert await trader.changes() == 1


async def test_another_key_is_another_change(trader: Trader) -> None:
    await trader.change("one")
    await trader.change("two")
    assert await trader.changes() == 2


async def test_a_key_may_stand_in_quotes_as_the_draft_of_the_header_has_it(trader: Trader) -> None:
    first, second = await trader.change("key"), await trader.change('"key"')
    assert second.content == first.content


async def test_another_request_under_the_key_is_refused(trader: Trader) -> None:
    await trader.change("key")
    answer = await trader.change("key", loss="20")
    assert (answer.status_code, codes(answer)) == (422, ["IDEMPOTENCY_KEY_REUSED"])
    assert await trader.changes() == 1


async def test_of_requests_sent_at_once_one_is_carried_out(trader: Trader) -> None:
    answers = await asyncio.gather(*(trader.change("key") for _ in range(8)))
    assert await trader.changes() == 1
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.content for answer in answers if answer.status_code == 200}) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert (codes(answer), answer.headers["retry-after"]) == (["IDEMPOTENCY_KEY_IN_USE"], "1")


async def test_keys_are_their_viewers_own(trader: Trader) -> None:
    other = await signed_in(trader.app, trader.connection)
    mine, theirs = await trader.change("key"), await other.change("key")
    assert mine.status_code == theirs.status_code == 200
    assert await trader.changes() == 2


async def test_a_refusal_for_people_is_an_answer_like_any(trader: Trader) -> None:
    account, trader.account = trader.account, "00000000-0000-0000-0000-000000000009"
    first = await trader.change("key")
    assert first.json()["data"]["updateRiskSettings"]["userErrors"] == [{"code": "NOT_FOUND"}]
    assert (await trader.change("key")).content == first.content
    trader.account = account
    assert (await trader.change("key")).status_code == 422


async def test_a_request_that_failed_and_changed_nothing_frees_its_key(trader: Trader) -> None:
    assert codes(await trader.change("key", loss=True)) == ["BAD_USER_INPUT"]
    assert (await trader.change("key")).status_code == 200
    assert await trader.changes() == 1


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "schlüssel".encode()])
async def test_a_key_that_is_none_is_refused(trader: Trader, key: str) -> None:
    answer = await trader.change(key)
    assert (answer.status_code, codes(answer)) == (400, ["IDEMPOTENCY_KEY_INVALID"])
    assert await trader.changes() == 0


async def test_a_stream_has_keys_too(trader: Trader) -> None:
    async def stream() -> httpx.Response:
        headers = {"accept": "text/event-stream", "idempotency-key": "key"}
        variables = {"id": trader.account, "loss": "10"}
        return await trader.app.ask(CHANGE, variables, token=trader.token, headers=headers)

    assert (await stream()).content == (await stream()).content
    assert await trader.changes() == 1


async def test_a_key_may_come_among_the_extensions(trader: Trader) -> None:
    extensions = {"idempotencyKey": "key"}
    first = await trader.change(None, extensions=extensions)
    assert (await trader.change(None, extensions=extensions)).content == first.content
    assert (await trader.change("key")).content == first.content
    assert await trader.changes() == 1


async def test_answers_with_tokens_are_not_stored(trader: Trader) -> None:
    login = 'mutation { login(email: "a@example.com", password: "x") { accessToken userErrors { code } } }'
    for token in (None, trader.token):
        answer = await trader.app.ask(login, token=token, headers={"idempotency-key": "key"})
        assert answer.json()["data"]["login"]["userErrors"] == [{"code": "INVALID_CREDENTIALS"}]
    assert await trader.connection.fetchval("SELECT count(*) FROM graphql_api.idempotency_keys") == 0


async def test_a_login_cant_hide_among_other_changes(trader: Trader) -> None:
    both = """mutation ($id: ID!) {
      ...Both
    }
    fragment Both on Mutation {
      logout { userErrors { code } }
      resetRiskSettings(accountId: $id) { userErrors { code } }
    }"""
    answer = await trader.app.ask(
        both, {"id": trader.account}, token=trader.token, headers={"idempotency-key": "key"}
    )
    assert (answer.status_code, codes(answer)) == (400, ["IDEMPOTENCY_KEY_INVALID"])
    assert await trader.changes() == 0


async def test_a_query_needs_no_key(trader: Trader) -> None:
    await trader.app.ask("{ viewer { roles } }", token=trader.token, headers={"idempotency-key": "key"})
    assert await trader.connection.fetchval("SELECT count(*) FROM graphql_api.idempotency_keys") == 0


async def test_changes_that_look_for_their_answers_are_counted(
    address: Address, tmp_path: Path, connection: "asyncpg.Connection"
) -> None:
    async with served(address, tmp_path, max_viewer_operations=1, max_concurrent_operations=4) as app:
        trader = await signed_in(app, connection)
        async with connection.transaction():
            await connection.execute("LOCK TABLE graphql_api.idempotency_keys")
            changes = [asyncio.create_task(trader.change(f"key-{number}")) for number in range(5)]
            refused: set[asyncio.Task[httpx.Response]] = set()
            while len(refused) < 3:
                refused, _ = await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)
        answers = await asyncio.gather(*changes)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503]
