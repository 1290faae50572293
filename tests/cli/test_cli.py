"""The command line, as people and scripts use it: a process each."""

import ast
import asyncio
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from graphql_api import __version__
from graphql_api.cli import activity, logs
from graphql_api.cli.serve import _welcome
from graphql_api.dev.embedded import EmbeddedPostgres
from graphql_api.identity.viewer import SCOPE_MEANINGS
from graphql_api.log_feed.filter import LogFilter
from graphql_api.postgres.address import Address
from graphql_api.postgres.migrate import newest_revision
from tests import factories, forked
from tests.postgres.pgbouncer import pgbouncer
from tests.service.conftest import served_from

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


class Shell:
    """Runs `graphql-api` against a test's database."""

    def __init__(self, address: Address | None, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "GRAPHQL_API_DATA_DIR": str(folder / "data")}
        if address is not None:
            self.environment["DATABASE_URL"] = address.dsn

    async def run(self, *arguments: str, fails: bool = False, **environment: str) -> tuple[str, str]:
        """Runs a command, asserts that it succeeds (or `fails`), and returns what it printed."""
        given = {**self.environment, **environment}
        code, out, err = await asyncio.to_thread(forked.run, arguments, env=given, cwd=self.folder)
        assert bool(code) == fails, err
        assert "Traceback" not in err
        return out, err

    @asynccontextmanager
    async def following(self, *arguments: str, subject: str) -> AsyncIterator[asyncio.StreamReader]:
        """A command with --follow for the block, once it says that it follows. Yields its output."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "graphql_api", *arguments, "--follow"),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert await process.stderr.readline() == f"following {subject}\n".encode()
            yield process.stdout
        finally:
            process.kill()
            await process.communicate()

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Starts a command that runs until it is stopped."""
        return subprocess.Popen(
            (sys.executable, "-m", "graphql_api", *arguments), env=self.environment, cwd=self.folder
        )


@pytest.fixture
def shell(address: Address, tmp_path: Path) -> Shell:
    return Shell(address, tmp_path)


async def test_doctor_finds_nothing_wrong_with_a_migrated_database(
    lone_address: Address, tmp_path: Path
) -> None:
    out, _ = await Shell(lone_address, tmp_path).run("doctor")

    assert [line.split()[0] for line in out.splitlines()] == ["ok"] * 19


async def test_doctor_names_the_version_as_postgresql_does(
    shell: Shell, connection: "asyncpg.Connection"
) -> None:
    out, _ = await shell.run("doctor")

    assert f"PostgreSQL {await connection.fetchval('SHOW server_version')}\n" in out


async def test_doctor_finds_a_pooler_out_whatever_its_name(
    shell: Shell, address: Address, scratch: Path
) -> None:
    async with pgbouncer(address, scratch / "pooler", "transaction") as url:
        shell.environment |= {"DATABASE_URL": url, "DATABASE_DIRECT_URL": address.dsn}
        out, _ = await shell.run("doctor")
        assert "ok     pooling: through a pooler in transaction mode, unprepared\n" in out

        out, _ = await shell.run("doctor", fails=True, GRAPHQL_API_DATABASE_PREPARED_STATEMENTS="true")
        assert "fault  pooling: " in out
        assert "unset GRAPHQL_API_DATABASE_PREPARED_STATEMENTS" in out

        out, _ = await shell.run("doctor", fails=True, DATABASE_DIRECT_URL="")
        assert "fault  log feed: " in out
        assert "set DATABASE_DIRECT_URL" in out


async def test_serve_refuses_a_pooler_without_a_direct_address_whatever_its_name(
    shell: Shell, address: Address, scratch: Path
) -> None:
    async with pgbouncer(address, scratch / "pooler", "transaction") as url:
        _, err = await shell.run("serve", "--port", "0", fails=True, DATABASE_URL=url)

    assert "set DATABASE_DIRECT_URL" in err


async def test_doctor_finds_triggers_that_others_changed_and_migrate_makes_them_again(
    shell: Shell, connection: "asyncpg.Connection"
) -> None:
    await connection.execute("""
        ALTER TABLE system_logs ENABLE TRIGGER ALL;
        ALTER TABLE system_logs DISABLE TRIGGER log_feed_delete;
        DROP TRIGGER log_feed_truncate ON system_logs;
        DROP TABLE log_feed.watermarks, activity.watermarks, graphql_api.idempotency_keys;
        CREATE OR REPLACE FUNCTION log_feed.record_lines() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RETURN NULL; END';
        ALTER FUNCTION log_feed.forget_own_lines() SECURITY INVOKER;
        ALTER FUNCTION activity.lock_rows RESET lock_timeout;
    """)

    out, _ = await shell.run("doctor", fails=True)

    (line,) = [line for line in out.splitlines() if " triggers: " in line]
    assert line.partition("triggers: ")[2].split("; ") == [
        "the table log_feed.watermarks is missing: run `graphql-api migrate`",
        "the table activity.watermarks is missing: run `graphql-api migrate`",
        "the function log_feed.record_lines() was changed: run `graphql-api migrate`",
        "the function log_feed.forget_own_lines() was changed: run `graphql-api migrate`",
        "the function activity.lock_rows() was changed: run `graphql-api migrate`",
        (
            "the trigger log_feed_delete of system_logs fires never, since it is disabled, and not for what"
            " programs write: run `graphql-api migrate`"
        ),
        "the trigger log_feed_truncate of system_logs is missing: run `graphql-api migrate`",
        (
            "the trigger log_feed_replica of system_logs fires for what programs write, and not for what"
            " replication writes: run `graphql-api migrate`"
        ),
        "the trigger log_feed_own of log_feed.watermarks is missing: run `graphql-api migrate`",
        "the trigger activity_own of activity.watermarks is missing: run `graphql-api migrate`",
        "the table graphql_api.idempotency_keys is missing: restore it from a backup",
    ]

    await shell.run("migrate")

    out, _ = await shell.run("doctor", fails=True)
    assert "fault  triggers: the table graphql_api.idempotency_keys is missing: restore it" in out


async def test_doctor_tells_what_it_leaves_out_of_a_url(shell: Shell, address: Address) -> None:
    out, _ = await shell.run("doctor", DATABASE_URL=f"{address.dsn}&connection_limit=5")

    assert "pooling: each is to a server process of its own; left out of the URL: connection_limit" in out


async def test_doctor_says_where_postgresql_has_other_time_zones(
    shell: Shell, connection: "asyncpg.Connection"
) -> None:
    zone = "America/Edmonton"  # UTC-6 all year since 2026, by tzdata
    winter = datetime.now(UTC).replace(month=12, day=15)
    local = await connection.fetchval("SELECT $1::timestamptz AT TIME ZONE $2", winter, zone)
    out, _ = await shell.run("doctor", GRAPHQL_API_RISK_TIMEZONE=zone)

    agrees = winter.replace(tzinfo=None) - local == timedelta(hours=6)
    assert "ok     time zone: America/Edmonton by tzdata" in out
    assert ("PostgreSQL's own files differ" in out) is not agrees


async def test_doctor_names_what_differs_from_the_documented_tables(
    shell: Shell, connection: "asyncpg.Connection"
) -> None:
    await connection.execute("ALTER TABLE trades ADD note text; DROP INDEX idx_trades_page")
    out, _ = await shell.run("doctor", fails=True)

    assert "trades.note is not documented: the service ignores it (harmless)" in out
    assert "fault  indexes: build index idx_trades_page on trades: run `graphql-api migrate`" in out


async def test_doctor_tells_how_to_mend_an_old_schema(shell: Shell, connection: "asyncpg.Connection") -> None:
    await connection.execute("UPDATE graphql_api.revision SET version_num = '0001'")
    out, _ = await shell.run("doctor", fails=True)

    assert "graphql-api migrate" in out


async def test_serve_refuses_a_schema_that_is_not_its_own(
    shell: Shell, connection: "asyncpg.Connection"
) -> None:
    await connection.execute("UPDATE graphql_api.revision SET version_num = '0001'")
    _, err = await shell.run("serve", "--port", "0", fails=True)

    assert "run `graphql-api migrate`" in err


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("doctor",)])
async def test_a_database_that_was_never_migrated_is_called_so(
    shell: Shell, connection: "asyncpg.Connection", command: tuple[str, ...]
) -> None:
    await connection.execute("DROP TABLE graphql_api.revision")
    out, err = await shell.run(*command, fails=True)

    assert "the database is not migrated yet: run `graphql-api migrate`" in out + err


async def test_migrate_says_where_the_database_is(shell: Shell) -> None:
    out, _ = await shell.run("migrate", "0001")

    assert newest_revision() in out


async def test_migrate_refuses_a_revision_that_does_not_exist(shell: Shell) -> None:
    _, err = await shell.run("migrate", "9999", fails=True)

    assert "'9999'" in err
    assert f"the newest of this version is {newest_revision()}" in err


async def test_serve_refuses_a_database_that_refuses_it(shell: Shell, address: Address) -> None:
    missing = address.dsn.replace("/test_", "/missing_test_")
    _, err = await shell.run("serve", "--port", "0", fails=True, DATABASE_URL=missing)

    assert "the database can't be used: database" in err


async def test_serve_refuses_a_pooled_address_without_a_direct_one(shell: Shell) -> None:
    pooled = "postgresql://user:secret@ep-cool-pooler.example.test/db"
    _, err = await shell.run("serve", "--port", "0", fails=True, DATABASE_URL=pooled)

    assert "set DATABASE_DIRECT_URL" in err
    assert "secret" not in err


async def test_production_refuses_to_start_without_a_secret(shell: Shell) -> None:
    _, err = await shell.run("serve", "--port", "0", fails=True, GRAPHQL_API_PROFILE="production")

    assert "set GRAPHQL_API_SECRET_KEY" in err


async def test_production_never_starts_a_database_of_its_own(tmp_path: Path) -> None:
    _, err = await Shell(None, tmp_path).run(
        "serve", "--port", "0", fails=True, GRAPHQL_API_PROFILE="production"
    )

    assert "set DATABASE_URL" in err


async def test_production_gets_no_demo_data(shell: Shell, connection: "asyncpg.Connection") -> None:
    await shell.run("demo", fails=True, GRAPHQL_API_PROFILE="production", GRAPHQL_API_SECRET_KEY="k" * 32)

    assert await connection.fetchval("SELECT count(*) FROM users") == 0


async def test_a_database_with_users_of_its_own_gets_no_demo_data(
    shell: Shell, connection: "asyncpg.Connection"
) -> None:
    await factories.user(connection)
    _, err = await shell.run("demo", fails=True)

    assert "users of its own" in err
    assert await connection.fetchval("SELECT count(*) FROM users") == 1


async def test_a_setting_that_makes_no_sense_is_named(shell: Shell) -> None:
    _, err = await shell.run("doctor", fails=True, GRAPHQL_API_PORT="many")

    assert err.startswith("graphql-api: GRAPHQL_API_PORT: ")


@pytest.mark.parametrize("origins", ["app.example", '["app.example"]', "https://a.example,app.example"])
async def test_an_allowed_origin_that_makes_no_sense_is_named(shell: Shell, origins: str) -> None:
    _, err = await shell.run("serve", fails=True, GRAPHQL_API_ALLOWED_ORIGINS=origins)

    assert err.startswith("graphql-api: GRAPHQL_API_ALLOWED_ORIGINS: 'app.example' is no origin")
    assert err.count("\n") == 1


async def test_users_are_created_and_granted_roles(shell: Shell, connection: "asyncpg.Connection") -> None:
    await shell.run("user", "create", "a@example.com", GRAPHQL_API_USER_PASSWORD="long enough, surely")
    await shell.run("user", "grant", "a@example.com", "admin")
    _, err = await shell.run("user", "grant", "b@example.com", "admin", fails=True)

    assert await connection.fetchval("SELECT count(*) FROM graphql_api.user_roles") == 1
    assert "graphql-api:" in err


async def test_a_role_is_taken_from_a_user(shell: Shell, connection: "asyncpg.Connection") -> None:
    await factories.user(connection, email="a@example.com")
    await shell.run("user", "grant", "a@example.com", "operator")
    out, _ = await shell.run("user", "revoke", "a@example.com", "operator")
    _, err = await shell.run("user", "revoke", "a@example.com", "operator", fails=True)

    assert out == "a@example.com is no longer operator.\n"
    assert await connection.fetchval("SELECT count(*) FROM graphql_api.user_roles") == 0
    assert err == "graphql-api: the user does not have the role operator\n"


@pytest.mark.parametrize(
    ("email", "password", "sentence"),
    [
        ("a@example.com", "too short", "a password needs 12 characters or more"),
        ("nobody", "long enough, surely", "an e-mail looks like name@example.com, 255 characters at most"),
        ("taken@example.com", "long enough, surely", "there is a user with this e-mail already"),
    ],
)
async def test_a_user_that_cant_be_created_is_an_error_with_the_reason(
    shell: Shell, connection: "asyncpg.Connection", email: str, password: str, sentence: str
) -> None:
    await factories.user(connection, email="taken@example.com")
    _, err = await shell.run("user", "create", email, fails=True, GRAPHQL_API_USER_PASSWORD=password)

    assert err == f"graphql-api: {sentence}\n"


async def test_a_password_is_changed(shell: Shell, connection: "asyncpg.Connection") -> None:
    await factories.user(connection, email="a@example.com", password_hash="old")
    await shell.run("user", "password", "a@example.com", GRAPHQL_API_USER_PASSWORD="long enough, surely")

    stored = await connection.fetchval("SELECT password_hash FROM users")
    assert stored.startswith("$argon2")


async def test_users_are_listed_and_kept_out(shell: Shell, connection: "asyncpg.Connection") -> None:
    await factories.user(connection, email="b@example.com")
    await factories.user(connection, email="a@example.com")
    await shell.run("user", "grant", "a@example.com", "operator")
    out, _ = await shell.run("user", "deactivate", "b@example.com")
    assert out == "b@example.com may no longer sign in.\n"
    listed, _ = await shell.run("user", "list")
    head, *lines = [re.split("  +", line.strip()) for line in listed.splitlines()]
    assert head == ["E-MAIL", "ROLES", "STATE", "CREATED", "LAST LOGIN"]
    assert [line[:3] for line in lines] == [
        ["a@example.com", "operator user", "active"],
        ["b@example.com", "user", "deactivated"],
    ]

    await shell.run("user", "activate", "b@example.com")
    assert await connection.fetchval("SELECT bool_and(is_active) FROM users")
    _, err = await shell.run("user", "deactivate", "c@example.com", fails=True)
    assert err == "graphql-api: there is no user with this e-mail\n"


async def test_a_service_token_is_shown_once_and_can_be_revoked(shell: Shell) -> None:
    out, err = await shell.run("token", "create", "dashboard", "--scope", "logs:read")
    listed, _ = await shell.run("token", "list")
    await shell.run("token", "revoke", err.split()[-1])

    assert out.startswith("gas_")
    assert "dashboard" in listed
    assert out.strip() not in listed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("create", "x", "--scope", "graph:read"), "without a user, graph:read would open nothing"),
        (("create", "x", "--scope", "graph:read", "--user", "b@example.com"), "there is no user with this"),
        (("revoke", "7"), "a service token's id is a UUID"),
        (("revoke", "00000000-0000-0000-0000-000000000001"), "there is no such service token"),
    ],
)
async def test_a_token_that_cant_be_made_or_ended_is_an_error_with_the_reason(
    shell: Shell, arguments: tuple[str, ...], sentence: str
) -> None:
    _, err = await shell.run("token", *arguments, fails=True)

    assert err.startswith(f"graphql-api: {sentence}")


async def test_service_tokens_are_listed_one_a_line(shell: Shell, connection: "asyncpg.Connection") -> None:
    await factories.user(connection, email="a@example.com")
    for_user = ("--scope", "graph:read", "--scope", "risk:write", "--user", "a@example.com", "--days", "0")
    await shell.run("token", "create", "dash [bold]board", *for_user)
    out, _ = await shell.run("token", "list")
    head, line = out.splitlines()
    created = f"{await connection.fetchval('SELECT created_at FROM graphql_api.service_tokens'):%Y-%m-%d}"
    cells = ["dash [bold]board", "a@example.com", "graph:read risk:write", created, "never", "never"]

    assert head.split() == ["ID", "NAME", "USER", "SCOPES", "CREATED", "LAST", "USED", "ENDS"]
    assert re.split("  +", line.strip())[1:] == cells


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--after", "x"), "The cursor was not made by this service"),
        (("--level", "bogus"), "--level is one of debug, info, warning, error, critical"),
    ],
)
async def test_logs_refuse_what_cant_be_read(shell: Shell, arguments: tuple[str, ...], sentence: str) -> None:
    _, err = await shell.run("logs", *arguments, fails=True)

    assert err.startswith("graphql-api: ")
    assert sentence in err


async def test_logs_are_json_lines_in_a_pipe_and_go_on_after_a_cursor(
    shell: Shell, connection: "asyncpg.Connection"
) -> None:
    details = '{"password": "theirs", "n": 1.50}'
    for number in range(3):
        when = factories.NOW + timedelta(seconds=number)
        await factories.system_log(
            connection, message=f"line {number}", level="warn", timestamp=when, details=details
        )
    await factories.system_log(connection, message="not so serious", level="debug")
    out, _ = await shell.run("logs", "--level", "info", "--lines", "2")
    lines = [json.loads(line) for line in out.splitlines()]
    after, _ = await shell.run("logs", "--level", "info", "--after", lines[0]["cursor"])

    assert [line["message"] for line in lines] == ["line 1", "line 2"]
    assert lines[0]["timestamp"] == f"{factories.NOW + timedelta(seconds=1):%Y-%m-%dT%H:%M:%S.%fZ}"
    assert '"details":{"n":1.50,"password":"[redacted]"}' in out
    assert [json.loads(line)["message"] for line in after.splitlines()] == ["line 2"]


async def test_logs_after_a_cursor_are_all_read_however_few_match(
    address: Address,
    connection: "asyncpg.Connection",
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """More lines that don't match than are examined in the time after which the command ends."""
    key = bytes(32)

    async def printed(wanted: LogFilter, after: str | None) -> list[dict[str, Any]]:
        await logs._show(address, key, wanted, lines=1, follow=False, after=after)
        return [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]

    await factories.system_log(connection, message="the first")
    (first,) = await printed(LogFilter(), None)
    await connection.execute(
        "INSERT INTO system_logs (level, component, message)"
        " SELECT 'INFO', 'bot', 'many' FROM generate_series(1, 9000)"
    )
    await factories.system_log(connection, message="rare")
    monkeypatch.setattr(logs, "_QUIET_SECONDS", 0.001)
    assert [line["message"] for line in await printed(LogFilter(search="rare"), first["cursor"])] == ["rare"]


async def test_logs_follow_what_is_written(shell: Shell, connection: "asyncpg.Connection") -> None:
    async with shell.following("logs", "--component", "risk", subject="the log") as lines:
        await factories.system_log(connection, component="bot")
        await factories.system_log(connection, component="risk", message="seen")
        line = await lines.readline()

    assert json.loads(line)["message"] == "seen"


async def test_activity_is_json_lines_after_a_cursor_and_live(
    shell: Shell, connection: "asyncpg.Connection"
) -> None:
    async with shell.following("activity", subject="the accounts") as lines:
        account = await factories.account(connection, await factories.user(connection), api_key="theirs")
        first = json.loads(await lines.readline())
        session = await factories.session(connection, account)
    out, _ = await shell.run(
        "activity", "--after", first["cursor"], "--kind", "session", "--account", account
    )

    assert (first["kind"], first["change"], first["rowId"]) == ("ACCOUNT", "ADDED", account)
    assert "theirs" not in str(first)
    assert [json.loads(line)["rowId"] for line in out.splitlines()] == [session]


LEVEL = "--level is one of debug, info, warning, error, critical, and not 'nonsense'"
KIND = "--kind is one of trade, session, risk_settings, account, risk, log, and not 'nonsense'"
NO_CURSOR = "say --follow for what is to come, or --after with a cursor for what came since"
ACCOUNT = "--account is an account's id, a UUID, and 'A-1' is none"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("logs", "--level", "nonsense"), LEVEL),
        (("activity", "--follow", "--kind", "nonsense"), KIND),
        (("activity", "--follow", "--kind", "up_to_date"), KIND.replace("nonsense", "up_to_date")),
        (("activity", "--follow", "--account", "A-1"), ACCOUNT),
        (("activity",), NO_CURSOR),
    ],
)
async def test_an_option_that_makes_no_sense_is_named_with_what_it_may_be(
    shell: Shell, command: tuple[str, ...], sentence: str
) -> None:
    _, err = await shell.run(*command, fails=True)

    assert err == f"graphql-api: {sentence}\n"


@pytest.mark.parametrize(
    "command",
    [("user", "grant", "a@example.com", "nonsense"), ("token", "create", "x", "--scope", "nonsense")],
    ids=" ".join,
)
async def test_a_word_that_is_none_of_an_options_is_answered_with_these(
    shell: Shell, command: tuple[str, ...]
) -> None:
    _, err = await shell.run(*command, fails=True, COLUMNS="400", TERMINAL_WIDTH="400")

    assert "'nonsense' is not one of '" in err


@pytest.mark.parametrize(("command", "words"), [("logs", logs.LEVEL_NAMES), ("activity", activity.KINDS)])
async def test_help_lists_the_words_of_an_option(shell: Shell, command: str, words: tuple[str, ...]) -> None:
    out, _ = await shell.run(command, "--help", COLUMNS="400", TERMINAL_WIDTH="400")

    assert [word for word in words if not re.search(rf"\b{word}\b", out)] == []


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_production_logs_where_it_listens(address: Address, tmp_path: Path, log_format: str) -> None:
    production = {"GRAPHQL_API_PROFILE": "production", "GRAPHQL_API_SECRET_KEY": "k" * 32}
    async with served_from(address, tmp_path, **production, GRAPHQL_API_LOG_FORMAT=log_format) as service:
        assert service.stop() == 0

    assert service.log.read_text().count(f"listening on {service.url}") == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/graphql", "http://[::1]:8000/graphql"])
def test_the_request_of_the_welcome_can_be_pasted(url: str) -> None:
    (line,) = [line for line in _welcome(url).splitlines() if "curl" in line]
    program, *arguments = shlex.split(line.partition("Try it")[2])

    assert (program, arguments[1]) == ("curl", url)
    assert "login(" in json.loads(arguments[-1])["query"]
    assert shlex.quote(url) in line


async def test_psql_is_opened_on_the_database_with_its_own_arguments(shell: Shell) -> None:
    out, _ = await shell.run(
        "psql", "-XAtc", "SELECT 'counted', count(*) FROM users", "--set", "ON_ERROR_STOP=1"
    )
    assert out == "counted|0\n"

    _, err = await shell.run("psql", "-XAtc", "SELECT no_such_column", fails=True)
    assert "no_such_column" in err


async def test_psql_is_opened_on_the_embedded_database(scratch: Path) -> None:
    postgres = EmbeddedPostgres(scratch / "data" / "postgres")
    postgres.start()
    out, _ = await Shell(None, scratch).run("psql", "-XAtc", "SELECT current_database()")
    postgres.stop()

    assert out == "graphql_api\n"


async def test_the_schema_is_printed_or_written(shell: Shell) -> None:
    printed, _ = await shell.run("schema")
    await shell.run("schema", "--output", "out.graphql")

    assert "type Query" in printed
    assert (shell.folder / "out.graphql").read_text() == printed


async def test_the_settings_are_printed_or_written(shell: Shell) -> None:
    printed, _ = await shell.run("settings")
    await shell.run("settings", "--output", "out.md")

    assert "| `DATABASE_URL` |" in printed
    assert (shell.folder / "out.md").read_text() == printed


async def test_the_version_is_that_of_the_package(shell: Shell) -> None:
    out, _ = await shell.run("--version")

    assert out == f"graphql-api {__version__}\n"


@pytest.mark.parametrize("command", [("migrate",), ("user", "grant", "a@example.com", "admin"), ("doctor",)])
async def test_an_address_that_makes_no_sense_is_named_and_not_repeated(
    shell: Shell, command: tuple[str, ...]
) -> None:
    url = "postgresql://user:secret@host/db?sslmode=maybe"
    _, err = await shell.run(*command, fails=True, DATABASE_URL=url)

    assert err.startswith("graphql-api: a database URL's sslmode is one of ")
    assert "secret" not in err


@pytest.mark.parametrize("command", [("migrate",), ("token", "list")])
async def test_a_database_that_is_away_is_one_sentence(shell: Shell, command: tuple[str, ...]) -> None:
    _, err = await shell.run(*command, fails=True, DATABASE_URL="postgresql://u@127.0.0.1:1/d")

    assert "graphql-api: the database can't be reached: " in err


async def test_a_file_that_cant_be_written_is_named(shell: Shell) -> None:
    _, err = await shell.run("settings", "--output", "no/such/folder.md", fails=True)

    assert err == "graphql-api: no/such/folder.md: No such file or directory\n"


EMPTY_MACHINE = (
    "graphql-api: there is no database yet: set DATABASE_URL to yours, or let `graphql-api serve` make one"
    " with demo data\n"
)


@pytest.mark.parametrize(
    "command",
    [
        ("doctor",),
        ("migrate",),
        ("migrate", "--plan"),
        ("demo",),
        ("logs",),
        ("psql",),
        ("activity", "--follow"),
        ("user", "list"),
        ("user", "create", "a@example.com"),
        ("token", "list"),
    ],
    ids=" ".join,
)
async def test_an_empty_machine_is_told_of_and_left_alone(tmp_path: Path, command: tuple[str, ...]) -> None:
    shell = Shell(None, tmp_path)
    _, err = await shell.run(*command, fails=True, GRAPHQL_API_USER_PASSWORD="long enough, surely")

    assert err == EMPTY_MACHINE
    assert list(tmp_path.iterdir()) == []


async def test_an_empty_machine_has_no_backups(tmp_path: Path) -> None:
    out, _ = await Shell(None, tmp_path).run("backup", "list")
    assert out == f"There is no backup in {tmp_path / 'data' / 'backups'}.\n"


async def test_a_mistyped_setting_is_named(shell: Shell) -> None:
    _, err = await shell.run(
        "settings", GRAPHQL_API_ALOWED_ORIGINS="*", graphql_api_port="1", GRAPHQL_API_XYZZY="1"
    )

    assert err.splitlines() == [
        "graphql-api: GRAPHQL_API_ALOWED_ORIGINS is no setting: is GRAPHQL_API_ALLOWED_ORIGINS meant?",
        "graphql-api: GRAPHQL_API_XYZZY is no setting: `graphql-api settings` lists them",
    ]


async def test_a_port_that_is_taken_is_named(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        _, err = await shell.run("serve", "--port", str(port), fails=True)

    assert err == f"graphql-api: 127.0.0.1:{port} is taken by another program: choose another --port\n"


async def test_a_data_folder_that_cant_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "data")
    _, err = await Shell(None, tmp_path).run("serve", "--port", "0", fails=True, GRAPHQL_API_DATA_DIR=folder)

    assert f"{folder}/postgres'. Choose another GRAPHQL_API_DATA_DIR, or set DATABASE_URL\n" in err


def test_who_stops_reading_is_told_nothing(shell: Shell) -> None:
    program = (sys.executable, "-m", "graphql_api", "schema")
    with subprocess.Popen(
        program, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_windows_is_refused_at_once() -> None:
    """Modules that only Unix has can't be imported, as on Windows, and the command still explains that."""
    program = """
import sys, typer
for name in ("fcntl", "grp", "pwd", "resource", "termios", "uvloop"):
    sys.modules[name] = None
sys.platform = "win32"
from graphql_api.cli import main
main()
"""
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True)

    assert done.stderr == "graphql-api: Windows isn't supported: use its Subsystem for Linux\n"
    assert (done.returncode, done.stdout) == (1, "")


OLD_PYTHON = f"""#!/bin/sh
exec {shlex.quote(sys.executable)} -c 'import sys; sys.version_info = (3, 10, 4); exec(sys.argv[1])' "$2"
"""


MISSING = "there is no no-such-python here: install Python 3.11 or newer"
OLD = "Python 3.11 or newer is needed, and ./old-python is 3.10: name another, as in make PYTHON=python3.12"


@pytest.mark.parametrize(("python", "sentence"), [("no-such-python", MISSING), ("./old-python", OLD)])
def test_a_python_that_is_missing_or_too_old_is_named(tmp_path: Path, python: str, sentence: str) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "old-python").write_text(OLD_PYTHON)
    (tmp_path / "old-python").chmod(0o755)
    command = ("make", "serve", f"PYTHON={python}")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == sentence
    assert not (tmp_path / ".venv").exists()


def test_a_shell_completes_commands(shell: Shell) -> None:
    command = Path(sys.executable).with_name("graphql-api")
    asked = {"_GRAPHQL_API_COMPLETE": "complete_bash", "COMP_WORDS": "graphql-api to", "COMP_CWORD": "1"}
    done = subprocess.run(
        [command], env=shell.environment | asked, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["token"]


async def test_help_says_what_scopes_allow_and_what_defaults_are(shell: Shell) -> None:
    shell.environment |= {"COLUMNS": "400", "TERMINAL_WIDTH": "400"}
    token, _ = await shell.run("token", "create", "--help")
    serve, _ = await shell.run("serve", "--help")

    for scope, meaning in SCOPE_MEANINGS.items():
        assert f"{scope}: {meaning}" in token
    assert "GRAPHQL_API_PORT, or 8000" in serve


async def test_a_command_that_does_not_exist_is_an_error(shell: Shell) -> None:
    _, err = await shell.run("migrat", fails=True)

    assert "No such command 'migrat'" in err


@pytest.mark.parametrize("module", ["main", "settings_page", "users", "tokens", "migrate", "demo", "doctor"])
def test_commands_that_need_no_schema_do_not_import_it(module: str) -> None:
    program = f"import sys, graphql_api.cli.{module}; print(*sys.modules)"
    done = subprocess.run((sys.executable, "-c", program), check=True, capture_output=True, text=True)

    assert not {"strawberry", "graphql", "fastapi", "graphql_api.schema"} & set(done.stdout.split())


COMMAND_LINE = re.compile(r"(`graphql-api |\bpg_ctl |\bpsql |\bcurl )[^`]*\{")


def test_no_command_line_is_put_together_without_quotes() -> None:
    """Such as f"pg_ctl -D {folder}": `shlex.join` quotes a folder's spaces."""
    texts = [
        ast.unparse(node)
        for file in (ROOT / "graphql_api").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.JoinedStr)
    ]

    assert [text for text in texts if COMMAND_LINE.search(text)] == []
