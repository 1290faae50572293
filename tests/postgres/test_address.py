import shutil
import ssl
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from graphql_api.postgres.address import Address, InvalidAddressError
from graphql_api.postgres.type_codecs import rfc3339
from tests.postgres.proxy import fatal, proxy_to

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
        ("postgresql://postgres.ref:x@aws-0-eu-central-1.pooler.supabase.com:6543/postgres", True),
        ("postgresql://postgres.ref:x@aws-0-eu-central-1.pooler.supabase.com:5432/postgres", False),
        ("postgresql://postgres:x@db.ref.supabase.co:6543/postgres", True),
        ("postgresql://postgres:x@/postgres?host=db.ref.supabase.co&port=6543", True),
        ("postgresql://postgres:x@db.ref.supabase.co/postgres", False),
        ("postgresql://u@db:6543/d", False),
        ("postgresql://u@/d?host=/cloudsql/project:region:instance", False),
        ("postgresql://my-pooler.user:x-pooler.y@db/d-pooler", False),
    ],
)
def test_a_poolers_host_is_known_by_its_name(url: str, pooled: bool) -> None:
    assert Address.parse(url).pooled is pooled


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg", "  postgresql"]
)
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
        "postgresql://u@h:port/d",
        "postgresql://u@h:0/d",
        "postgresql://u@h:65536/d",
        "postgresql://u@h:1:2/d",
        "postgresql://u@[::1/d",
        "postgresql://u@h,/d",
        "postgresql://u@h/d?port=x",
        "jdbc:postgresql://h/d",
    ],
)
def test_a_url_that_nothing_can_connect_to_is_refused(url: str) -> None:
    with pytest.raises(InvalidAddressError):
        Address.parse(url)


@pytest.mark.parametrize(
    ("query", "dsn"),
    [
        # SQLAlchemy with asyncpg, Heroku, Ecto, node-postgres
        ("?ssl=require", "?sslmode=require"),
        ("?ssl=verify-ca", "?sslmode=verify-ca"),
        ("?ssl=true", "?sslmode=require"),
        ("?ssl=True&pool_size=10", "?sslmode=require"),
        ("?ssl=false", "?sslmode=disable"),
        ("?ssl=true&sslmode=verify-ca", "?sslmode=verify-ca"),
        ("?sslmode=no-verify&uselibpqcompat=true", "?sslmode=require"),
        # Neon, with the endpoint for clients without SNI
        ("?sslmode=require&channel_binding=require", "?sslmode=require"),
        ("?sslmode=require&options=endpoint%3Dep-cool", "?sslmode=require&options=endpoint%3Dep-cool"),
        # Prisma
        ("?schema=public&connection_limit=5&pool_timeout=10&socket_timeout=30", ""),
        ("?schema=bot", "?search_path=bot"),
        ("?sslaccept=accept_invalid_certs&sslmode=require", "?sslmode=require"),
        # Vercel and Supabase
        ("?pgbouncer=true&connect_timeout=15&supa=base-pooler.x", ""),
        # libpq
        ("?gssencmode=disable&keepalives=1&sslsni=1&sslcertmode=allow&client_encoding=latin1", ""),
        ("?target_session_attrs=read-write", "?target_session_attrs=read-write"),
        ("?application_name=api&connect_timeout=30", ""),
        # settings of PostgreSQL
        ("?search_path=a&statement_timeout=5000", "?search_path=a&statement_timeout=5000"),
    ],
)
def test_parameters_are_read_as_their_clients_mean_them(query: str, dsn: str) -> None:
    assert Address.parse(f"postgresql://u@h/d{query}").dsn == f"postgresql://u@h/d{dsn}"


@pytest.mark.parametrize(
    ("url", "dsn"),
    [
        ("postgresql://u@a,b/d", "postgresql://u@a,b/d?target_session_attrs=read-write"),
        (
            "postgresql://u@a:1,b:2/d?ssl=true",
            "postgresql://u@a:1,b:2/d?sslmode=require&target_session_attrs=read-write",
        ),
        ("postgresql://u@a,b/d?target_session_attrs=any", "postgresql://u@a,b/d?target_session_attrs=any"),
        ("postgresql://u@a/d", "postgresql://u@a/d"),
    ],
)
def test_of_several_hosts_the_primary_is_meant(url: str, dsn: str) -> None:
    assert Address.parse(url).dsn == dsn


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("?sslmode=on", "sslmode"),
        ("?ssl=maybe", "ssl"),
        ("?ssl=require&sslmode=disable", "ssl and sslmode"),
        ("?sslrootcert=system&sslmode=require", "sslrootcert=system"),
        ("?sslrootcert=/no/such/file.pem", "sslrootcert"),
        ("?sslmode=verify-full&sslcert=/no/such/file.pem", "sslcert"),
        ("?gssencmode=require", "gssencmode"),
        ("?require_auth=scram-sha-256", "require_auth"),
        ("?requirepeer=postgres", "requirepeer"),
        ("?sslcertmode=require", "sslcertmode"),
        ("?min_protocol_version=3.2", "min_protocol_version"),
        ("?sslaccept=strict", "sslaccept"),
        ("?target_session_attrs=master", "target_session_attrs"),
        ("?connect_timeout=soon", "connect_timeout"),
        ("?port=x", "port"),
    ],
)
def test_what_a_parameter_asks_for_in_vain_is_refused_by_its_name(query: str, name: str) -> None:
    with pytest.raises(InvalidAddressError, match=name):
        Address.parse(f"postgresql://u:secret@h/d{query}")


@pytest.mark.parametrize(
    ("query", "pooled"),
    [
        ("?pgbouncer=true", True),
        ("?pgbouncer=false", False),
        ("?pool_mode=transaction", True),
        ("?pool_mode=session", False),
        ("?prepared_statement_cache_size=0", True),
        ("?prepared_statement_cache_size=100", False),
        ("?statement_cache_size=0", True),
        ("?prepared_statements=false", True),
    ],
)
def test_a_url_may_say_that_there_is_a_pooler(query: str, pooled: bool) -> None:
    address = Address.parse(f"postgresql://u@h/d{query}")
    assert (address.pooled, address.dsn) == (pooled, "postgresql://u@h/d")


def test_what_is_left_out_of_a_url_is_known() -> None:
    url = "postgresql://u@h/d?connection_limit=5&channel_binding=require&sslmode=require"
    assert Address.parse(url).ignored == ("connection_limit", "channel_binding")


@pytest.mark.parametrize(("seconds", "timeout"), [("15", 15), ("0", 10), ("", 10)])
def test_the_time_to_connect_is_the_urls(seconds: str, timeout: float) -> None:
    assert Address.parse(f"postgresql://u@h/d?connect_timeout={seconds}").timeout == timeout


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


async def test_other_clients_parameters_do_not_reach_the_server(server: Address) -> None:
    async with proxy_to(server) as proxy:
        query = (
            "?connect_timeout=5&keepalives=1&gssencmode=disable&client_encoding=latin1&sslsni=1"
            "&schema=public&connection_limit=5&pgbouncer=true&pool_timeout=0&ssl=prefer"
        )
        connection = await Address.parse(proxy.url(server, query)).connect()
        await connection.close()


async def test_an_unknown_parameter_is_refused_by_the_server_by_name(server: Address) -> None:
    async with proxy_to(server) as proxy:
        with pytest.raises(asyncpg.PostgresError, match="no_such_setting"):
            await Address.parse(proxy.url(server, "?no_such_setting=1")).connect()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for localhost, signed by itself, with its key."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("there is no openssl to make a certificate with")
    path = tmp_path / "server.pem"
    make_certificate(openssl, path)
    return path


def make_certificate(openssl: str, path: Path) -> None:
    root = path.with_name("root.pem")
    command = (
        *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", path, "-out", root, "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost"),
    )
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + root.read_text())


@pytest.mark.parametrize(
    "query",
    [
        "?sslrootcert=system",
        "?sslrootcert=system&sslmode=verify-full",
        "?ssl=verify-full",
        "?sslmode=verify-full&sslrootcert={root}",
        "?ssl=require",
        "?ssl=true",
    ],
)
async def test_a_server_with_a_trusted_certificate_is_reached(
    server: Address, certificate: Path, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = certificate.with_name("root.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(root))  # the operating system's certificates, says OpenSSL
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    async with proxy_to(server, tls=tls) as proxy:
        url = proxy.url(server, query.format(root=root)).replace("127.0.0.1", "localhost")
        connection = await Address.parse(url).connect()
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


@pytest.mark.parametrize("query", ["?sslrootcert=system", "?sslmode=verify-full&sslrootcert={root}"])
async def test_a_certificate_that_is_renewed_needs_no_restart(
    server: Address, certificate: Path, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = certificate.with_name("root.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    async with proxy_to(server, tls=tls) as proxy:
        url = proxy.url(server, query.format(root=root)).replace("127.0.0.1", "localhost")
        address = Address.parse(url)
        for _ in range(2):
            connection = await address.connect()
            await connection.close()
            make_certificate(str(shutil.which("openssl")), certificate)
            tls.load_cert_chain(certificate)


@pytest.mark.parametrize("query", ["?sslrootcert=system", "?sslmode=verify-full"])
async def test_a_server_with_an_untrusted_certificate_is_not(
    server: Address, certificate: Path, query: str
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    async with proxy_to(server, tls=tls) as proxy:
        url = proxy.url(server, query).replace("127.0.0.1", "localhost")
        with pytest.raises(ssl.SSLCertVerificationError):
            await Address.parse(url).connect()


async def test_settings_in_a_url_reach_the_server(server: Address) -> None:
    async with proxy_to(server) as proxy:
        url = proxy.url(server, "?search_path=a&options=-c%20work_mem%3D7MB")
        connection = await Address.parse(url).connect()
        assert await connection.fetchval("SHOW search_path") == "a"
        assert await connection.fetchval("SHOW work_mem") == "7MB"
        await connection.close()


async def test_prepared_statements_of_a_connection_are_bounded(server: Address) -> None:
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


async def test_a_urls_own_name_for_the_application_counts(server: Address) -> None:
    address = Address.parse(f"{server.dsn}&application_name=theirs")
    connection = await address.connect(application="ours")
    assert await connection.fetchval("SHOW application_name") == "theirs"
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


async def test_a_server_that_refuses_us_is_asked_no_more_than_three_times(server: Address) -> None:
    async with proxy_to(server, lambda _: fatal("08P01", "no such database")) as proxy:
        with pytest.raises(asyncpg.ProtocolViolationError):
            await Address.parse(proxy.url(server)).connect()
        assert len(proxy.connections) == 3
