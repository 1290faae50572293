"""`graphql-api documents`: registers the documents that clients may run, where only those may be run."""

from collections.abc import Sequence
from pathlib import Path

from graphql_api.app import build_operations
from graphql_api.cli.errors import UsageError
from graphql_api.execution.errors import RequestError
from graphql_api.execution.persisted_documents import add_to_manifest, hash_of
from graphql_api.settings import Settings


def register(files: Sequence[Path], to: Path | None) -> list[tuple[str, Path]]:
    """Adds documents to a manifest, and returns the SHA-256 of each.

    Raises UsageError for the first that is invalid or beyond the limits, or if it isn't said where to;
    nothing is written then.
    """
    settings = Settings()
    place = to or settings.trusted_documents
    if place is None:
        raise UsageError("say where to with --to, or set GRAPHQL_API_TRUSTED_DOCUMENTS")
    # The manifest itself may not be there yet.
    operations = build_operations(settings.model_copy(update={"trusted_documents": None}))
    texts = {}
    for file in files:
        texts[file] = file.read_bytes().decode()
        try:
            operations.documents.get(texts[file])
        except RequestError as error:
            raise UsageError(f"{file}: {error}") from None
    add_to_manifest(place, texts.values())
    return [(hash_of(text), file) for file, text in texts.items()]
