"""Changing risk settings: every rule, nothing lost, everything on record."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import asyncpg
import orjson
import pytest

from graphql_api.execution.inputs import ExactFloat
from graphql_api.postgres.address import Address
from tests import factories
from tests.graph import Answer, Graph, trader
from tests.lock_waits import until_waiting

T = TypeVar("T")

FIELDS = """
  riskSettings { id maxDailyLoss maxPositionSize maxOpenPositions riskPerTrade version hasDuplicates
    account { id } }
  account { id riskSettings { id maxDailyLoss } }
  userErrors { code message field }
"""
SET = f"""
mutation ($id: ID!, $input: SetRiskSettingsInput!, $version: String) {{
  changed: setRiskSettings(accountId: $id, input: $input, ifVersion: $version) {{ {FIELDS} }}
}}"""
UPDATE = f"""
mutation ($id: ID!, $input: UpdateRiskSettingsInput!, $version: String) {{
  changed: updateRiskSettings(accountId: $id, input: $input, ifVersion: $version) {{ {FIELDS} }}
}}"""
RESET = f"""
mutation ($id: ID!, $version: String) {{
  changed: resetRiskSettings(accountId: $id, ifVersion: $version) {{ {FIELDS} }}
}}"""


class RiskClient:
    """A trader with one account."""

    def __init__(self, graph: Graph, connection: "asyncpg.Connection", user: str, account: str) -> None:
        self.graph = graph.as_(trader(user))
        self.connection = connection
        self.user = user
        self.account = account

    async def change(self, query: str, version: str | None = None, /, **given: Any) -> Answer:
        variables = {"id": self.account, "version": version}
        return await self.graph.ask(query, variables if query == RESET else {**variables, "input": given})

    async def changed(self, query: str, version: str | None = None, /, **given: Any) -> dict[str, Any]:
        """The payload of a change that must succeed."""
        payload = (await self.change(query, version, **given)).data["changed"]
        assert payload["userErrors"] == []
        return dict(payload)

    async def refused(self, query: str, version: str | None = None, /, **given: Any) -> list[dict[str, Any]]:
        """The errors of a change that must fail, and change nothing."""
        before = await self.rows(), await self.audit()
        errors = (await self.change(query, version, **given)).data["changed"]["userErrors"]
        assert errors
        assert (await self.rows(), await self.audit()) == before
        return list(errors)

    async def rows(self) -> list[asyncpg.Record]:
        return list(await self.connection.fetch("SELECT * FROM risk_settings ORDER BY id"))

    async def audit(self) -> list[asyncpg.Record]:
        return list(await self.connection.fetch("SELECT * FROM system_logs ORDER BY timestamp"))


@pytest.fixture
async def client(graph: Graph, connection: "asyncpg.Connection") -> RiskClient:
    user = await factories.user(connection)
    return RiskClient(graph, connection, user, await factories.account(connection, user))


def limits(payload: dict[str, Any]) -> list[Any]:
    row = payload["riskSettings"]
    return [row[name] for name in ("maxDailyLoss", "maxPositionSize", "maxOpenPositions", "riskPerTrade")]


async def test_set_replaces_all_four(client: RiskClient) -> None:
    await client.changed(SET, maxDailyLoss="500", maxOpenPositions=3, riskPerTrade="0.0125")
    payload = await client.changed(SET, maxPositionSize="1.5", riskPerTrade=None)

    assert limits(payload) == [None, "1.50000000", None, None]
    assert len(await client.rows()) == 1


async def test_update_keeps_what_is_absent_and_clears_what_is_null(client: RiskClient) -> None:
    await client.changed(SET, maxDailyLoss="500", maxOpenPositions=3, riskPerTrade="0.0125")
    payload = await client.changed(UPDATE, maxDailyLoss=None, maxPositionSize="2")

    assert limits(payload) == [None, "2.00000000", 3, "0.0125"]


async def test_update_leaves_alone_what_it_was_not_given(client: RiskClient) -> None:
    await factories.risk_settings(client.connection, client.account, max_daily_loss=Decimal("NaN"))
    await client.changed(UPDATE, riskPerTrade="0.5")

    assert (await client.rows())[0]["max_daily_loss"].is_nan()


async def test_update_makes_the_first_row(client: RiskClient) -> None:
    payload = await client.changed(UPDATE, maxOpenPositions=0)

    assert limits(payload) == [None, None, 0, None]
    assert payload["account"]["riskSettings"] == {"id": payload["riskSettings"]["id"], "maxDailyLoss": None}


async def test_reset_brings_back_the_defaults_and_keeps_the_row(client: RiskClient) -> None:
    row = (await client.changed(SET))["riskSettings"]["id"]
    payload = await client.changed(RESET)

    assert payload["riskSettings"]["id"] == row
    assert limits(payload) == ["1000.00000000", "1.00000000", 5, "0.0100"]


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ({"riskPerTrade": "1.5"}, "OUT_OF_RANGE", "riskPerTrade must be between 0 and 1"),
        ({"riskPerTrade": "-0.1"}, "OUT_OF_RANGE", "riskPerTrade must be between 0 and 1"),
        ({"maxOpenPositions": -1}, "OUT_OF_RANGE", "maxOpenPositions must be between 0 and 2147483647"),
        (
            {"maxDailyLoss": "1000000000000"},
            "OUT_OF_RANGE",
            "maxDailyLoss must be between 0 and 999999999999.99999999",
        ),
        (
            {"riskPerTrade": "0.00005"},
            "TOO_PRECISE",
            "riskPerTrade must have at most 4 digits after the decimal point",
        ),
        (
            {"maxPositionSize": "0.123456789"},
            "TOO_PRECISE",
            "maxPositionSize must have at most 8 digits after the decimal point",
        ),
        ({"riskPerTrade": "NaN"}, "NOT_FINITE", "riskPerTrade must be a finite number"),
        ({"maxDailyLoss": "-Infinity"}, "NOT_FINITE", "maxDailyLoss must be a finite number"),
    ],
)
@pytest.mark.parametrize("query", [SET, UPDATE], ids=["set", "update"])
async def test_a_bad_limit_is_named_with_its_rule(
    client: RiskClient, query: str, given: dict[str, Any], code: str, message: str
) -> None:
    assert await client.refused(query, **given) == [
        {"code": code, "message": message, "field": ["input", *given]}
    ]


async def test_every_fault_is_told_at_once(client: RiskClient) -> None:
    errors = await client.refused(SET, maxDailyLoss="-1.000000001", riskPerTrade="NaN")

    assert [(error["code"], error["field"][1]) for error in errors] == [
        ("OUT_OF_RANGE", "maxDailyLoss"),
        ("TOO_PRECISE", "maxDailyLoss"),
        ("NOT_FINITE", "riskPerTrade"),
    ]


@pytest.mark.parametrize("value", ["1_000", "", "٣", "0x10", "1e9999"])
async def test_what_is_no_decimal_is_named_like_any_fault(client: RiskClient, value: str) -> None:
    assert await client.refused(SET, maxDailyLoss=value) == [
        {
            "code": "INVALID",
            "message": 'maxDailyLoss must be a decimal number, such as "1250.50" or "1E-8"',
            "field": ["input", "maxDailyLoss"],
        }
    ]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("1E-8", "0.00000001"),
        ("1e+3", "1000.00000000"),
        (ExactFloat("1e-7"), "0.00000010"),
        (ExactFloat("0.1"), "0.10000000"),
        (7, "7.00000000"),
    ],
)
async def test_a_number_is_written_as_it_was_given(client: RiskClient, given: object, stored: str) -> None:
    assert limits(await client.changed(SET, maxDailyLoss=given))[0] == stored


async def test_a_number_in_the_document_is_exact(client: RiskClient) -> None:
    document = f"""
      mutation ($id: ID!) {{
        changed: updateRiskSettings(accountId: $id, input: {{riskPerTrade: 0.0300, maxDailyLoss: 1e2}})
        {{ {FIELDS} }}
      }}"""
    answer = await client.graph.ask(document, {"id": client.account})
    assert limits(answer.data["changed"])[::3] == ["100.00000000", "0.0300"]


async def test_digits_beyond_a_float_are_counted(client: RiskClient) -> None:
    [error] = await client.refused(SET, maxDailyLoss=ExactFloat("0.10000000000000000001"))
    assert error["code"] == "TOO_PRECISE"


async def test_trailing_zeros_are_not_digits(client: RiskClient) -> None:
    assert limits(await client.changed(UPDATE, riskPerTrade="0.0100000000"))[3] == "0.0100"


async def test_a_constraint_of_the_platform_refuses_limits_by_its_name(client: RiskClient) -> None:
    await client.connection.execute(
        "ALTER TABLE risk_settings ADD CONSTRAINT ten_at_most CHECK (max_open_positions <= 10)"
    )
    (error,) = await client.refused(UPDATE, maxOpenPositions=11)
    assert error == {
        "code": "INVALID",
        "message": "the database's constraint ten_at_most refuses these limits",
        "field": ["input"],
    }
    await client.changed(UPDATE, maxOpenPositions=10)


async def test_a_domain_of_the_platform_refuses_limits_by_its_name(client: RiskClient) -> None:
    await client.connection.execute("""
        CREATE DOMAIN amount AS numeric(20,8) CONSTRAINT a_million_at_most CHECK (value <= 1000000);
        ALTER TABLE risk_settings ALTER max_daily_loss TYPE amount
    """)
    (error,) = await client.refused(UPDATE, maxDailyLoss="1000001")
    assert error["code"] == "INVALID"
    assert error["message"] == "the database's constraint a_million_at_most refuses this change"
    await client.changed(UPDATE, maxDailyLoss="1000000")


async def test_a_trigger_of_the_platform_may_refuse_limits(client: RiskClient) -> None:
    await client.connection.execute("""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'account % is frozen', NEW.account_id; END $$;
        CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON risk_settings FOR EACH ROW EXECUTE FUNCTION refuse()
    """)
    (error,) = await client.refused(RESET)
    assert (error["code"], error["field"]) == ("INVALID", ["accountId"])
    assert error["message"] == "a trigger of the database refuses these limits"


async def test_a_constraint_on_log_lines_is_not_taken_for_one_on_limits(client: RiskClient) -> None:
    await client.connection.execute("ALTER TABLE system_logs ADD CHECK (level = lower(level))")
    answer = await client.change(UPDATE, maxOpenPositions=10)
    assert answer.error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"


async def test_an_update_of_nothing_is_refused(client: RiskClient) -> None:
    assert [error["code"] for error in await client.refused(UPDATE)] == ["EMPTY_UPDATE"]


@pytest.mark.parametrize("id_", ["", "7", "not-a-uuid"])
async def test_a_malformed_account_id_is_refused(client: RiskClient, id_: str) -> None:
    answer = await client.graph.ask(RESET, {"id": id_})

    assert answer.data["changed"] == {
        "riskSettings": None,
        "account": None,
        "userErrors": [{"code": "INVALID", "message": "accountId must be a UUID", "field": ["accountId"]}],
    }


@pytest.mark.parametrize(
    "given", [{}, {"riskPerTrade": "2"}, {"riskPerTrade": "much"}, {"maxDailyLoss": "NaN"}]
)
async def test_a_refusal_shows_the_settings_as_they_are(client: RiskClient, given: dict[str, Any]) -> None:
    await client.changed(SET, maxDailyLoss="500", riskPerTrade="0.0125")
    payload = (await client.change(UPDATE, **given)).data["changed"]

    assert payload["userErrors"]
    assert limits(payload) == ["500.00000000", None, None, "0.0125"]
    assert payload["account"]["id"] == client.account


async def test_a_refusal_shows_nothing_of_another_users_account(
    client: RiskClient, graph: Graph, connection: "asyncpg.Connection"
) -> None:
    await client.changed(SET, maxDailyLoss="500")
    other = RiskClient(graph, connection, await factories.user(connection), client.account)
    payload = (await other.change(UPDATE, riskPerTrade="2")).data["changed"]

    assert [error["code"] for error in payload["userErrors"]] == ["OUT_OF_RANGE"]
    assert payload["riskSettings"] is None
    assert payload["account"] is None


async def test_a_stale_version_is_a_conflict_that_shows_the_current_row(client: RiskClient) -> None:
    first = (await client.changed(SET, maxDailyLoss="1"))["riskSettings"]["version"]
    second = (await client.changed(SET, first, maxDailyLoss="2"))["riskSettings"]["version"]
    payload = (await client.change(SET, first, maxDailyLoss="3")).data["changed"]

    assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [
        ("CONFLICT", ["ifVersion"])
    ]
    assert payload["riskSettings"]["maxDailyLoss"] == "2.00000000"
    assert payload["riskSettings"]["version"] == second != first


async def test_a_foreign_update_that_left_updated_at_alone_is_a_conflict(client: RiskClient) -> None:
    version = (await client.changed(SET, maxDailyLoss="1"))["riskSettings"]["version"]
    await client.connection.execute("UPDATE risk_settings SET max_daily_loss = 9")

    assert [error["code"] for error in await client.refused(UPDATE, version, maxOpenPositions=1)] == [
        "CONFLICT"
    ]


async def test_a_version_where_there_is_no_row_is_a_conflict(client: RiskClient) -> None:
    assert [error["code"] for error in await client.refused(SET, "anything")] == ["CONFLICT"]


async def test_two_first_writers_make_one_row(client: RiskClient) -> None:
    await asyncio.gather(*(client.changed(SET, maxOpenPositions=number) for number in range(8)))

    assert len(await client.rows()) == 1
    assert len(await client.audit()) == 8


async def test_of_many_with_one_version_one_changes_the_row(client: RiskClient) -> None:
    version = (await client.changed(SET, maxDailyLoss="1"))["riskSettings"]["version"]
    answers = await asyncio.gather(
        *(client.change(UPDATE, version, maxDailyLoss=str(number)) for number in range(2, 12))
    )
    codes = [[error["code"] for error in answer.data["changed"]["userErrors"]] for answer in answers]
    assert sorted(codes) == [[]] + [["CONFLICT"]] * 9
    assert len(await client.audit()) == 2


async def test_each_of_many_at_once_changes_what_the_one_before_left(client: RiskClient) -> None:
    await client.changed(SET, maxDailyLoss="1")
    await asyncio.gather(*(client.changed(UPDATE, maxDailyLoss=str(number)) for number in range(2, 12)))
    changes = [orjson.loads(line["details"]) for line in await client.audit()]
    left = {None, *(change["after"]["max_daily_loss"] for change in changes)}
    found = [change["before"] and change["before"]["max_daily_loss"] for change in changes]
    assert len(set(found)) == len(found) == 11
    (row,) = await client.rows()
    assert left - set(found) == {str(row["max_daily_loss"])}


async def test_rows_of_other_accounts_are_no_duplicates_of_a_first_one(client: RiskClient) -> None:
    for _ in range(2):
        other = await factories.account(client.connection, client.user)
        await factories.risk_settings(client.connection, other)
    payload = await client.changed(SET, maxDailyLoss="1")
    assert not payload["riskSettings"]["hasDuplicates"]


async def test_of_several_rows_the_current_one_is_changed_and_none_deleted(client: RiskClient) -> None:
    await factories.risk_settings(client.connection, client.account, updated_at=None)
    current = await factories.risk_settings(client.connection, client.account)
    payload = await client.changed(UPDATE, maxOpenPositions=7)

    assert payload["riskSettings"]["id"] == current
    assert payload["riskSettings"]["hasDuplicates"]
    assert sorted(row["max_open_positions"] or 0 for row in await client.rows()) == [0, 7]


async def test_a_change_is_on_record_with_who_before_and_after(client: RiskClient) -> None:
    await client.changed(SET, maxDailyLoss="500")
    await client.changed(UPDATE, riskPerTrade="0.5")
    first, second = await client.audit()
    details = orjson.loads(second["details"])

    assert (second["level"], second["component"]) == ("INFO", "risk")
    assert client.account in second["message"]
    assert details["by"] == client.user
    assert details["before"]["risk_per_trade"] is None
    assert details["after"]["risk_per_trade"] == "0.5000"
    assert details["after"]["max_daily_loss"] == "500.00000000"
    assert orjson.loads(first["details"])["before"] is None


async def test_changes_of_one_request_each_see_the_last(client: RiskClient) -> None:
    query = """
      mutation ($id: ID!) {
        a: updateRiskSettings(accountId: $id, input: {maxDailyLoss: "1"}) { ...seen }
        b: updateRiskSettings(accountId: $id, input: {maxDailyLoss: "2"}) { ...seen }
      }
      fragment seen on RiskSettingsPayload { account { riskSettings { maxDailyLoss } } }
    """
    data = (await client.graph.ask(query, {"id": client.account})).data

    assert [data[name]["account"]["riskSettings"]["maxDailyLoss"] for name in "ab"] == [
        "1.00000000",
        "2.00000000",
    ]


async def test_nothing_is_rounded(client: RiskClient) -> None:
    payload = await client.changed(SET, maxDailyLoss="999999999999.99999999")

    assert limits(payload)[0] == "999999999999.99999999"
    assert (await client.rows())[0]["max_daily_loss"] == Decimal("999999999999.99999999")


class Program:
    """Another program, with an open transaction that has locked the client's settings."""

    def __init__(self, connection: "asyncpg.Connection", address: Address) -> None:
        self.connection = connection
        self.address = address

    async def commit_before(self, change: Awaitable[T]) -> T:
        """Commits once a client's change waits for the transaction, and returns what the change does."""
        task = asyncio.ensure_future(change)
        await until_waiting(self.address, future=task)
        await self.connection.execute("COMMIT")
        return await task


@pytest.fixture
async def program(client: RiskClient, address: Address) -> AsyncIterator[Program]:
    await client.changed(SET, maxDailyLoss="100", maxOpenPositions=1)
    connection = await address.connect_plain(application="program")
    await connection.execute("BEGIN")
    yield Program(connection, address)
    await connection.close()


@pytest.mark.parametrize("lock", ["SELECT FROM risk_settings FOR UPDATE", "UPDATE risk_settings SET id = id"])
async def test_settings_of_an_account_that_changes_hands_meanwhile_stay_as_the_new_owner_has_them(
    client: RiskClient, program: Program, lock: str
) -> None:
    heir = await factories.user(client.connection)
    await program.connection.execute(lock)
    await program.connection.execute("UPDATE tradelocker_accounts SET user_id = $1", heir)
    errors = await program.commit_before(client.refused(UPDATE, maxDailyLoss="999"))
    assert [error["code"] for error in errors] == ["NOT_FOUND"]


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("lock", ["SELECT FROM risk_settings FOR UPDATE", "UPDATE risk_settings SET id = id"])
async def test_a_row_that_comes_into_force_meanwhile_is_the_one_that_is_changed(
    client: RiskClient, program: Program, rows: int, lock: str
) -> None:
    if rows == 2:
        await factories.risk_settings(client.connection, client.account, updated_at=None)
    await program.connection.execute(lock)
    values = {"max_daily_loss": Decimal(50), "max_open_positions": 7, "updated_at": datetime.now(UTC)}
    newest = await factories.risk_settings(program.connection, client.account, **values)
    payload = await program.commit_before(client.changed(UPDATE, maxOpenPositions=5))
    assert payload["riskSettings"]["id"] == newest
    assert limits(payload)[:1] == ["50.00000000"]
    details = orjson.loads((await client.audit())[-1]["details"])
    assert details["before"]["max_open_positions"] == 7
