import struct
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from graphql_api.postgres.address import Address, InvalidAddressError
from graphql_api.postgres.type_codecs import rfc3339
from tests.postgres.proxy import proxy_to

NEON = "postgresql://alex:AbC123dEf@ep-cool-darkness-a1b2c3d4.us-east-2.aws.neon.tech/dbname"
NEON_POOLED = "postgresql://alex:AbC123dEf@ep-cool-darkness-a1b2c3d4-pooler.us-east-2.aws.neon.tech/dbname"


@pytest.mark.parametrize("query", ["?sslmode=require", "?sslmode=require&channel_binding=require"])
def test_neons_urls_keep_their_encryption_and_lose_what_asyncpg_does_not_know(query: str) -> None:
    assert Address.parse(NEON + query).dsn == NEON + "?sslmode=require"


@pytest.mark.parametrize(
    ("url", "pooled"),
    [
        (NEON, False),
        (NEON_POOLED, True),
        (NEON_POOLED + "?sslmode=require&channel_binding=require", True),
        ("postgresql://u@db-pooler:6432/d", True),
        ("postgresql://u@/d?host=db-pooler", True),
        ("postgresql://my-pooler.user:x-pooler.y@db/d-pooler", False),
    ],
)
def test_a_poolers_host_is_known_by_its_name(url: str, pooled: bool) -> None:
    assert Address.parse(url).pooled is pooled


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg", "  postgresql"])
def test_every_scheme_of_postgresql_is_read(scheme: str) -> None:
    assert Address.parse(f"{scheme}://u@h/d").dsn == "postgresql://u@h/d"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost/d",
        "mysql://u@h/d",
        "sqlite:///x",
        "postgresql:/u@h/d",
        "postgresql+psycopg2://u@h/d",
        "postgresql://u@h:port/d",
        "postgresql://u@h:0/d",
        "postgresql://u@h:65536/d",
        "postgresql://u@h:1:2/d",
        "postgresql://u@[::1/d",
        "postgresql://u@h,/d",
        "postgresql://u@h/d?port=x",
        "postgresql://u@h/d?sslmode=on",
    ],
)
def test_a_url_that_nothing_can_connect_to_is_refused(url: str) -> None:
    with pytest.raises(InvalidAddressError):
        Address.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:secret@h/d",
        "postgresql://u:secret@x@h/d",
        "postgresql://u:secret#x@h/d",
        "postgresql://u:secret/x@h/d",
        "postgresql://u:secret@[h/d",
        "postgresql://u:secret\u2100@h/d",
    ],
)
def test_an_error_never_repeats_a_password(url: str) -> None:
    with pytest.raises(InvalidAddressError) as error:
        Address.parse(url)
    assert "secret" not in str(error.value)


def test_an_address_does_not_print_its_password() -> None:
    assert "AbC123dEf" not in repr(Address.parse(NEON))


async def test_a_password_may_hold_any_character_that_is_escaped(server: Address) -> None:
    async with proxy_to(server) as proxy:
        url = proxy.url(server).replace("secret", "%40%23%2F%3A%3F%20")
        connection = await Address.parse(url).connect()
        await connection.close()


@pytest.mark.parametrize("parameters", ["", "?sslmode=prefer", "?sslmode=disable&channel_binding=prefer"])
async def test_a_server_without_tls_is_reached_unless_tls_is_required(
    server: Address, parameters: str
) -> None:
    async with proxy_to(server) as proxy:
        connection = await Address.parse(proxy.url(server, parameters)).connect()
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_required_tls_is_never_left_out(server: Address) -> None:
    async with proxy_to(server) as proxy:
        with pytest.raises(ConnectionError):
            await Address.parse(proxy.url(server, "?sslmode=require")).connect()


async def test_libpqs_own_words_do_not_reach_the_server(server: Address) -> None:
    async with proxy_to(server) as proxy:
        words = "?connect_timeout=5&keepalives=1&gssencmode=disable&client_encoding=latin1&sslsni=1"
        connection = await Address.parse(proxy.url(server, words)).connect()
        await connection.close()


async def test_settings_in_a_url_reach_the_server(server: Address) -> None:
    async with proxy_to(server) as proxy:
        url = proxy.url(server, "?search_path=a&options=-c%20work_mem%3D7MB")
        connection = await Address.parse(url).connect()
        assert await connection.fetchval("SHOW search_path") == "a"
        assert await connection.fetchval("SHOW work_mem") == "7MB"
        await connection.close()


async def test_whoever_varies_their_queries_does_not_fill_the_servers_memory(server: Address) -> None:
    connection = await server.connect()
    for number in range(300):
        await connection.fetch(f"SELECT {number}")
    assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") <= 200
    await connection.close()


@pytest.mark.parametrize(
    "form",
    [
        "postgresql://postgres@127.0.0.1:1,127.0.0.1:{port}{database}",
        "postgresql+asyncpg://postgres@{database}?host=127.0.0.1:1&host=127.0.0.1:{port}",
        "postgresql://postgres@{database}?host=127.0.0.1,127.0.0.1&port=1,{port}",
        "postgresql://postgres@127.0.0.1:1,127.0.0.1:{port}{database}?target_session_attrs=primary",
    ],
)
async def test_of_several_hosts_the_one_that_answers_serves(server: Address, form: str) -> None:
    async with proxy_to(server) as proxy:
        url = form.format(port=proxy.port, database=urlsplit(server.dsn).path)
        connection = await Address.parse(url).connect()
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_behind_a_pooler_no_prepared_statement_is_left(server: Address, tmp_path: Path) -> None:
    socket_folder = parse_qs(urlsplit(server.dsn).query)["host"][0]
    (tmp_path / "db-pooler").symlink_to(socket_folder)
    database = urlsplit(server.dsn).path
    connection = await Address.parse(f"postgresql://postgres@{database}?host={tmp_path}/db-pooler").connect()

    await connection.fetch("SELECT $1::int", 7)

    assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") == 0
    await connection.close()


async def test_a_connection_tells_the_server_who_it_is(server: Address) -> None:
    connection = await server.connect(application="a drill")
    assert await connection.fetchval("SHOW application_name") == "a drill"
    await connection.close()


async def test_a_pooler_that_refuses_settings_is_used_without_them(server: Address) -> None:
    def refuse(message: bytes) -> bytes | None:
        return fatal("08P01", "unsupported startup parameter: TimeZone") if b"TimeZone\0" in message else None

    async with proxy_to(server, refuse) as proxy:
        connection = await Address.parse(proxy.url(server)).connect()
        await connection.execute("SET TimeZone = 'Asia/Kolkata'")
        moment = await connection.fetchval("SELECT '2026-11-22 09:00:00.5Z'::timestamptz")
        assert rfc3339(moment) == "2026-11-22T09:00:00.500000Z"
        await connection.close()


async def test_a_server_that_refuses_us_is_asked_no_more_than_twice(server: Address) -> None:
    async with proxy_to(server, lambda _: fatal("08P01", "no such database")) as proxy:
        with pytest.raises(asyncpg.ProtocolViolationError):
            await Address.parse(proxy.url(server)).connect()
        assert len(proxy.connections) == 2


def fatal(code: str, message: str) -> bytes:
    """A server's last word, as it is sent."""
    fields = "".join(f"{field}\0" for field in ("SFATAL", "VFATAL", f"C{code}", f"M{message}", ""))
    return b"E" + struct.pack("!I", len(fields) + 4) + fields.encode()
