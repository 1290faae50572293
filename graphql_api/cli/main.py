"""The commands of `graphql-api`, as `--help` shows them.

Each command imports its module when it runs: most need neither the schema nor the web server, which take
seconds to import.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from graphql_api import __version__
from graphql_api.cli.errors import one_sentence_errors
from graphql_api.identity.viewer import SCOPE_MEANINGS, Role, Scope


def _group(help: str, *, completion: bool = False) -> typer.Typer:  # noqa: A002 - typer's word
    return typer.Typer(
        help=help, no_args_is_help=True, add_completion=completion, pretty_exceptions_enable=False
    )


app = _group("The GraphQL service of a trading-bot platform.", completion=True)
users = _group("Create, list and deactivate users, and grant roles.")
tokens = _group("Make and revoke tokens for programs.")
documents = _group("Register the documents that clients may run.")
backups = _group("Take, verify and restore backups.")
app.add_typer(users, name="user")
app.add_typer(tokens, name="token")
app.add_typer(documents, name="documents")
app.add_typer(backups, name="backup")

Output = Annotated[Path | None, typer.Option(help="A file to write to, instead of the terminal.")]
Email = Annotated[str, typer.Argument(help="The user's e-mail address.")]
Password = Annotated[
    str,
    typer.Option(
        prompt=True,
        hide_input=True,
        confirmation_prompt=True,
        envvar="GRAPHQL_API_USER_PASSWORD",
        help="At least 12 characters; asked for unless given.",
    ),
]


_SCOPES = " ".join(f"{scope}: {meaning}" for scope, meaning in SCOPE_MEANINGS.items())


def main() -> None:
    """Runs the command line. Errors that its user can mend are one sentence, all others a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if sys.platform == "win32":
        raise SystemExit("graphql-api: Windows isn't supported: use its Subsystem for Linux")
    with one_sentence_errors():
        if any(name.upper().startswith("GRAPHQL_API_") for name in os.environ):
            from graphql_api.cli.settings_page import unknown_variables

            for sentence in unknown_variables(os.environ):
                typer.echo(f"graphql-api: {sentence}", err=True)
        app()


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"graphql-api {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """The GraphQL service of a trading-bot platform."""


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="GRAPHQL_API_HOST, or 127.0.0.1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen on; 0 takes a free one.", show_default="GRAPHQL_API_PORT, or 8000"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that serve.", show_default="GRAPHQL_API_WORKERS, or 1")
    ] = None,
) -> None:
    """Serve DATABASE_URL; without one, an embedded PostgreSQL with demo data and a bot that trades."""
    from graphql_api.cli.serve import serve

    given: dict[str, Any] = {"host": host, "port": port, "workers": workers}
    serve({name: value for name, value in given.items() if value is not None})


@app.command()
def migrate(
    revision: Annotated[str, typer.Argument(help="The revision to go to; head is the newest.")] = "head",
    *,
    only_plan: Annotated[
        bool, typer.Option("--plan", help="Print the steps, what they lock and how large the tables are.")
    ] = False,
    operator_indexes: Annotated[
        bool, typer.Option(help="Also build indexes for operators' orders over everybody's trades.")
    ] = False,
) -> None:
    """Bring the database up to date while other programs use it. Interrupted, it can be run again."""
    from graphql_api.cli.database import named_or_embedded
    from graphql_api.cli.migrate import run, show_plan
    from graphql_api.postgres.migrate import Options
    from graphql_api.settings import Settings

    carry_out = show_plan if only_plan else run
    with named_or_embedded(Settings()) as address:
        carry_out(address, revision, Options(operator_indexes=operator_indexes))


@app.command()
def demo(
    trades: Annotated[int | None, typer.Option(help="Grow the data to this many trades.", min=1)] = None,
) -> None:
    """Load the demo data, and grow it to any size. Refused in production, and beside other users."""
    from graphql_api.cli.demo import run

    run(trades)


@app.command()
def logs(
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")
    ] = False,
    level: Annotated[
        str | None, typer.Option(help="At least this serious: debug, info, warning, error, critical.")
    ] = None,
    component: Annotated[list[str] | None, typer.Option(help="Only of this part; repeat for more.")] = None,
    search: Annotated[str | None, typer.Option(help="Only with this in the message.")] = None,
    after: Annotated[str | None, typer.Option(help="Go on after this cursor.")] = None,
    lines: Annotated[int, typer.Option(help="First the newest so many.", min=0)] = 20,
) -> None:
    """Print the log: colours on a terminal, JSON lines with cursors in a pipe."""
    from graphql_api.cli.logs import show

    show(follow=follow, level=level, components=component, search=search, after=after, lines=lines)


@app.command()
def activity(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is to come.")] = False,
    account: Annotated[list[str] | None, typer.Option(help="Only of this id; repeat for more.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="Only trade, session, risk_settings, account, risk or log; repeat for more."),
    ] = None,
    after: Annotated[str | None, typer.Option(help="Begin after this cursor.")] = None,
) -> None:
    """Print what happens on all tenants' accounts, as JSON lines with cursors.

    Without --follow, it prints what came after a cursor, and ends.
    """
    from graphql_api.cli.activity import show

    show(follow=follow, accounts=account, kinds=kind, after=after)


@app.command()
def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="For monitors.")] = False) -> None:
    """Look for what keeps the service from working or will, and say how to mend it.

    The exit status is 1 for a fault, so that a script goes on over warnings; with --json, they are 2.
    """
    from graphql_api.cli.doctor import examine

    if status := examine(as_json=as_json):
        raise typer.Exit(status)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """Open psql on the database, also on the embedded one. All arguments are psql's."""
    from graphql_api.cli.psql import run

    if status := run(context.args):
        raise typer.Exit(status)


@app.command()
def schema(output: Output = None) -> None:
    """Print the schema in GraphQL's own language."""
    from graphql_api.schema import schema_text

    _write(schema_text(), output)


@app.command()
def grants(
    role: Annotated[str, typer.Argument(help="The database role that the service signs in as.")],
) -> None:
    """Print what a database role needs that serves, but doesn't own the tables."""
    from graphql_api.postgres.grants import grants

    typer.echo("\n".join(grants(role)))


@app.command()
def settings(output: Output = None) -> None:
    """Print every setting, with its default and what it decides."""
    from graphql_api.cli.settings_page import settings_page

    _write(settings_page(), output)


@users.command("create")
def create_user(email: Email, password: Password) -> None:
    """Create a user, who may then sign in."""
    from graphql_api.cli.users import create

    typer.echo(create(email, password))


@users.command("list")
def list_users() -> None:
    """List all users, with their roles."""
    from graphql_api.cli.users import print_all

    print_all()


@users.command("deactivate")
def deactivate_user(email: Email) -> None:
    """Keep a user out. Their logins end within seconds, sockets included; their rows stay."""
    from graphql_api.cli.users import set_active

    set_active(email, active=False)
    typer.echo(f"{email} may no longer sign in.")


@users.command("activate")
def activate_user(email: Email) -> None:
    """Let a user in again."""
    from graphql_api.cli.users import set_active

    set_active(email, active=True)
    typer.echo(f"{email} may sign in.")


@users.command("password")
def change_password(email: Email, password: Password) -> None:
    """Change a user's password. All their logins end."""
    from graphql_api.cli.users import set_password

    set_password(email, password)
    typer.echo(f"{email} has a new password.")


@users.command("grant")
def grant_role(email: Email, role: Annotated[Role, typer.Argument(help="What to make them.")]) -> None:
    """Give a user a role: operator reads logs and every tenant, admin may do everything."""
    from graphql_api.cli.users import grant

    grant(email, role)
    typer.echo(f"{email} is {role.value}.")


@users.command("revoke")
def revoke_role(email: Email, role: Annotated[Role, typer.Argument(help="What to take from them.")]) -> None:
    """Take a role from a user. It ends within seconds, sockets included."""
    from graphql_api.cli.users import revoke

    revoke(email, role)
    typer.echo(f"{email} is no longer {role.value}.")


@tokens.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="Which program it is for.")],
    scope: Annotated[list[Scope], typer.Option(help=f"What it may do; repeat for more. {_SCOPES}")],
    user: Annotated[str | None, typer.Option(help="The e-mail of the user it acts for.")] = None,
    days: Annotated[int, typer.Option(help="How long it lasts; 0 is for ever.", min=0)] = 90,
) -> None:
    """Make a token and print it. It is shown this once.

    A program sends it as an access token: Authorization: Bearer gas_….
    """
    from graphql_api.cli.tokens import create

    made = create(name, scope, user, days)
    typer.echo(f"id {made.id}", err=True)
    typer.echo(made.text)


@tokens.command("list")
def list_tokens() -> None:
    """List all tokens, without their texts."""
    from graphql_api.cli.tokens import print_all

    print_all()


@tokens.command("revoke")
def revoke_token(
    token: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as listed.")],
) -> None:
    """End a token."""
    from graphql_api.cli.tokens import revoke

    revoke(token)


@documents.callback()
def _documents() -> None:
    """Keeps the name of the command in the group, although there is only one."""


@documents.command("register")
def register_documents(
    files: Annotated[
        list[Path], typer.Argument(help="Files of one document each.", exists=True, dir_okay=False)
    ],
    to: Annotated[
        Path | None,
        typer.Option(help="A .json file or a folder. Default: GRAPHQL_API_TRUSTED_DOCUMENTS."),
    ] = None,
) -> None:
    """Check documents against the schema and the limits, and write them by their SHA-256."""
    from graphql_api.cli.documents import register

    for digest, file in register(files, to):
        typer.echo(f"{digest}  {file}")


@backups.command("now")
def take_backup(
    *,
    full: Annotated[
        bool | None,
        typer.Option(
            "--full/--incremental", help="Default: incremental, if a full one of this week is there."
        ),
    ] = None,
) -> None:
    """Take a backup of the whole server, and remove those that are too old."""
    from graphql_api.cli import backup

    backup.take_backup(full=full)


@backups.command("list")
def list_backups(*, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """List the backups, and which moments each can restore."""
    from graphql_api.cli import backup

    backup.list_backups(as_json=as_json)


@backups.command("verify")
def verify_backup() -> None:
    """Restore the newest backup beside the server, and compare every row with the live tables."""
    from graphql_api.cli import backup

    backup.verify_backup()


@backups.command("restore")
def restore_backup(
    at: Annotated[
        str, typer.Option(help="The moment, such as 2026-11-28T13:00:00Z; latest is all that there is.")
    ],
    into: Annotated[Path, typer.Option(help="A new or empty folder: PostgreSQL's data, when it is done.")],
) -> None:
    """Make a data folder of the server as it was at a moment. The running server is left alone."""
    from graphql_api.cli import backup

    backup.restore_backup(at, into)


@backups.command("run")
def run_backups(
    metrics_port: Annotated[
        int | None, typer.Option(help="Also tell Prometheus about the backups, at this port of HOST.")
    ] = None,
) -> None:
    """Receive the write-ahead log, and take and verify backups daily, until stopped."""
    from graphql_api.cli import backup

    backup.run_schedule(metrics_port)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text)
