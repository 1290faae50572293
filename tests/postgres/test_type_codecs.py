from typing import Any

import asyncpg
import pytest

from graphql_api.postgres.address import Address
from graphql_api.postgres.type_codecs import NAN, rfc3339, rfc3339_all

FIRST = "0001-01-01T00:00:00.000000Z"
LAST = "9999-12-31T23:59:59.999999Z"


async def read(address: Address, expression: str, *arguments: Any) -> Any:
    connection = await address.connect()
    try:
        return await connection.fetchval(f"SELECT {expression}", *arguments)
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("2026-11-22 09:00:00+00", "2026-11-22T09:00:00.000000Z"),
        ("2026-11-22 09:00:00.5+00", "2026-11-22T09:00:00.500000Z"),
        ("2026-11-22 09:00:00.000001+00", "2026-11-22T09:00:00.000001Z"),
        ("2026-11-22 09:00:00.123450+00", "2026-11-22T09:00:00.123450Z"),
        ("2026-11-22 09:00:00.9999999+00", "2026-11-22T09:00:01.000000Z"),
        ("2026-11-22 14:30:00+05:30", "2026-11-22T09:00:00.000000Z"),
        ("0001-01-01 00:00:00+00", FIRST),
        ("9999-12-31 23:59:59.999999+00", LAST),
        ("10000-01-01 00:00:00+00", LAST),
        ("10000-01-01 00:00:00.12345+00", LAST),
        ("294276-12-31 23:59:59.999999+00", LAST),
        ("infinity", LAST),
        ("0001-12-31 23:59:59.999999+00 BC", FIRST),
        ("4713-01-01 00:00:00+00 BC", FIRST),
        ("-infinity", FIRST),
    ],
)
async def test_a_timestamp_is_rfc_3339_in_utc(server: Address, literal: str, text: str) -> None:
    assert rfc3339(await read(server, f"'{literal}'::timestamptz")) == text


@pytest.mark.parametrize(
    ("zone", "literal", "text"),
    [
        ("Asia/Kolkata", "2026-11-22 09:00:00Z", "2026-11-22T09:00:00.000000Z"),
        ("America/St_Johns", "2026-07-01 09:00:00.25Z", "2026-07-01T09:00:00.250000Z"),
        ("Europe/Amsterdam", "1900-01-01 00:00:00Z", "1900-01-01T00:00:00.000000Z"),
        ("-12", "9999-12-31 23:59:59Z", "9999-12-31T23:59:59.000000Z"),
        ("+12", "9999-12-31 23:59:59Z", LAST),
        ("-05", "0001-01-01 00:00:00Z", FIRST),
        ("+05", "0001-01-01 00:00:00Z", FIRST),
    ],
)
async def test_a_timestamp_is_the_same_in_a_session_of_another_zone(
    server: Address, zone: str, literal: str, text: str
) -> None:
    connection = await server.connect()
    await connection.execute(f"SET TimeZone = '{zone}'")

    assert rfc3339(await connection.fetchval(f"SELECT '{literal}'::timestamptz")) == text
    await connection.close()


def test_a_timestamp_of_rfc_3339_passes() -> None:
    assert rfc3339(FIRST) == FIRST
    assert rfc3339("2026-11-22T09:00:00.500000Z") == "2026-11-22T09:00:00.500000Z"


SIX_DIGITS = "2026-11-22 09:00:00.500000+00"


@pytest.mark.parametrize("length", [0, 1, 2, 50])
@pytest.mark.parametrize(
    "odd",
    [
        SIX_DIGITS,
        "2026-11-22 09:00:00+00",
        "2026-11-22 09:00:00.5+05:30",
        "2026-11-22 09:00:00.500000-01",
        "0044-03-15 00:00:00.123+00 BC",
        "10000-01-01 00:00:00.12345+00",
        "infinity",
    ],
)
def test_many_timestamps_read_as_each_does(odd: str, length: int) -> None:
    texts = [SIX_DIGITS] * length + [odd] + [SIX_DIGITS] * length

    assert rfc3339_all(texts) == [rfc3339(text) for text in texts]


def test_no_timestamps_read_as_none() -> None:
    assert rfc3339_all([]) == []


def test_a_text_that_is_no_timestamp_is_an_error() -> None:
    with pytest.raises(ValueError, match="Invalid isoformat"):
        rfc3339("22.11.2026 09:00:00 UTC")


@pytest.mark.parametrize("zone", ["UTC", "America/St_Johns", "Asia/Kolkata"])
async def test_any_moment_reads_as_postgresql_itself_spells_it(server: Address, zone: str) -> None:
    connection = await server.connect()
    await connection.execute(f"SET TimeZone = '{zone}'; SELECT setseed(0.1)")
    rows = await connection.fetch("""
        SELECT moment, to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS spelt
        FROM (
            SELECT date_trunc(
                (ARRAY['second', 'milliseconds', 'microseconds'])[1 + n % 3],
                '0001-01-02Z'::timestamptz + random() * interval '3652056 days'
            ) AS moment
            FROM generate_series(1, 3000) n
        )
    """)
    await connection.close()

    spelt = [row["spelt"] for row in rows]
    assert [rfc3339(row["moment"]) for row in rows] == spelt
    assert rfc3339_all([row["moment"] for row in rows]) == spelt


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("0", "0.00000000"),
        ("0.00000001", "0.00000001"),
        ("-0.1", "-0.10000000"),
        ("999999999999.99999999", "999999999999.99999999"),
        ("1e11", "100000000000.00000000"),
        ("1e-8", "0.00000001"),
    ],
)
async def test_a_numeric_is_plain_notation_of_all_its_digits(
    server: Address, literal: str, text: str
) -> None:
    assert await read(server, f"{literal}::numeric(20,8)") == text


async def test_a_stored_nan_is_its_text(server: Address) -> None:
    assert await read(server, "'NaN'::numeric(20,8)") == NAN


async def test_a_uuid_is_its_text(server: Address) -> None:
    text = "0f8fad5b-d9cb-469f-a165-70867728950e"

    assert await read(server, f"'{text}'::uuid") == text


async def test_nulls_stay_null(server: Address) -> None:
    for name in ("uuid", "numeric", "timestamptz"):
        assert await read(server, f"NULL::{name}") is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("uuid", "0f8fad5b-d9cb-469f-a165-70867728950e"),
        ("numeric", "0.10"),
        ("timestamptz", "2026-11-22T09:00:00.500000Z"),
        ("timestamptz", "-infinity"),
    ],
)
async def test_parameters_are_given_as_text(server: Address, name: str, text: str) -> None:
    assert await read(server, f"$1::{name} = '{text}'::{name}", text)


async def test_arrays_speak_as_their_elements_do(server: Address) -> None:
    values = ["2026-11-22 09:00:00.5+00", None]

    assert await read(server, "$1::timestamptz[]", values) == values


async def test_a_malformed_parameter_is_the_servers_to_refuse(server: Address) -> None:
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        await read(server, "$1::uuid", "no uuid")
