"""The documents that clients may run, where nothing else may be run."""

from pathlib import Path
from typing import Annotated

import typer

from graphql_api.app import build_operations
from graphql_api.cli.errors import UsageError
from graphql_api.execution.errors import RequestError
from graphql_api.execution.persisted_documents import add_to_manifest, hash_of
from graphql_api.settings import Settings

app = typer.Typer(help="Register the documents that clients may run.", no_args_is_help=True)


@app.callback()
def documents() -> None:
    """Keep a command's name even while there is only one."""


@app.command()
def register(
    files: Annotated[
        list[Path], typer.Argument(help="Files of one document each.", exists=True, dir_okay=False)
    ],
    to: Annotated[
        Path | None,
        typer.Option(help="A .json file or a folder. Default: GRAPHQL_API_TRUSTED_DOCUMENTS."),
    ] = None,
) -> None:
    """Check documents against the schema and the limits, and write them by their SHA-256."""
    settings = Settings()
    place = to or settings.trusted_documents
    if place is None:
        raise UsageError("say where to with --to, or set GRAPHQL_API_TRUSTED_DOCUMENTS")
    # The set itself may not be there yet.
    checks = build_operations(settings.model_copy(update={"trusted_documents": None})).documents
    texts = {}
    for file in files:
        texts[file] = file.read_bytes().decode()
        try:
            checks.get(texts[file])
        except RequestError as error:
            raise UsageError(f"{file}: {error}") from None
    add_to_manifest(place, texts.values())
    for file, text in texts.items():
        typer.echo(f"{hash_of(text)}  {file}")
