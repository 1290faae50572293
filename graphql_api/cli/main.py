"""What everyone runs: serve, migrate, demo, schema, doctor."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from graphql_api.cli import doctor, documents, logs, migrating, serving, tokens, users
from graphql_api.cli.database import direct_address, embedded_or_given
from graphql_api.cli.demo import load_and_grow
from graphql_api.cli.errors import spoken
from graphql_api.cli.reference import settings_page
from graphql_api.postgres.migrate import Options
from graphql_api.schema import schema_text
from graphql_api.settings import Settings

app = typer.Typer(
    help="The GraphQL service of a trading-bot platform.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(users.app, name="user")
app.add_typer(tokens.app, name="token")
app.add_typer(documents.app, name="documents")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that serve.")] = None,
) -> None:
    """Serve DATABASE_URL; without one, an embedded PostgreSQL with demo data and a bot that trades."""
    given: dict[str, Any] = {"host": host, "port": port, "workers": workers}
    serving.serve({name: value for name, value in given.items() if value is not None})


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
    address, options = direct_address(Settings()), Options(operator_indexes=operator_indexes)
    if only_plan:
        migrating.show_plan(address, revision, options)
    else:
        migrating.run(address, revision, options)


@app.command()
def demo(
    trades: Annotated[int | None, typer.Option(help="Grow the data to this many trades.", min=1)] = None,
) -> None:
    """Load the demo data, and grow it to any size. Refused in production, and beside other users."""
    settings = Settings()
    with embedded_or_given(settings) as address:
        asyncio.run(load_and_grow(settings, address, trades))


app.command()(logs.logs)
app.command()(doctor.doctor)


@app.command()
def schema(
    output: Annotated[Path | None, typer.Option(help="A file to write to, instead of the terminal.")] = None,
) -> None:
    """Print the schema in GraphQL's own language."""
    if output is None:
        typer.echo(schema_text(), nl=False)
    else:
        output.write_text(schema_text())


@app.command()
def settings(
    output: Annotated[Path | None, typer.Option(help="A file to write to, instead of the terminal.")] = None,
) -> None:
    """Print every setting, with its default and what it decides."""
    if output is None:
        typer.echo(settings_page(), nl=False)
    else:
        output.write_text(settings_page())


def main() -> None:
    """Run the command line. What people can mend is said in one sentence; the rest is a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with spoken():
        app()
