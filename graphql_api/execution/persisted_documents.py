"""Persisted documents, named by their hash in Apollo's protocol: automatic ones, or a registered set only.

A request has `extensions.persistedQuery`, {version: 1, sha256Hash}, with or without the text beside it. A
registered set is on disk as a JSON file, an object from SHA-256 to text as code generators write it; or as a
folder of .graphql files, one document each, whatever their names.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson
from cachetools import LRUCache
from graphql import GraphQLError

from graphql_api.execution.errors import RequestError

_VERSION: Final = 1
_DIGITS: Final = 64
ENTRY_SIZE: Final = 500
"""Characters that a cached document counts for besides its text: the memory of its entry."""


def hash_of(text: str) -> str:
    """Returns the name of a document: the SHA-256 of its text, in lower-case hexadecimal digits."""
    return sha256(text.encode()).hexdigest()


class PersistedDocuments(ABC):
    """Finds the text of a request."""

    is_safelist = False
    """Whether only documents that are kept here may be run."""

    @abstractmethod
    def find(self, text: str, hash_: str | None) -> str:
        """Returns a document's text, given that (it may be empty), its hash, or both. Raises RequestError."""

    def store(self, hash_: str, text: str) -> None:  # noqa: B027 - not all learn
        """Keeps a valid document that was sent with its hash."""


class NoPersistedDocuments(PersistedDocuments):
    """Keeps none: each request has to send its document."""

    def find(self, text: str, hash_: str | None) -> str:
        """Returns the text given."""
        if not text:
            raise _refusal("PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported")
        return text


class AutomaticDocuments(PersistedDocuments):
    """Caches the documents that clients have sent with their hash, and drops the least recently used first.

    `capacity` is in characters; each document counts for ENTRY_SIZE more than its text. Each process has a
    cache of its own: a client whose document isn't there sends it again.
    """

    def __init__(self, capacity: int) -> None:
        self._texts: LRUCache[str, str] = LRUCache(capacity, getsizeof=_size)

    def __len__(self) -> int:
        return len(self._texts)

    def find(self, text: str, hash_: str | None) -> str:
        """Returns the text given, or the one that is cached by its hash."""
        if text:
            if hash_ is not None and hash_ != hash_of(text):
                raise _refusal("PERSISTED_QUERY_HASH_MISMATCH", "provided sha does not match query")
            return text
        kept = None if hash_ is None else self._texts.get(hash_)
        if kept is None:
            # Clients look for this sentence, or for the code.
            raise _refusal("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
        return kept

    def store(self, hash_: str, text: str) -> None:
        """Caches a text, and drops others if there is no room for all."""
        if _size(text) <= self._texts.maxsize:
            self._texts[hash_] = text


def _size(text: str) -> int:
    return ENTRY_SIZE + len(text)


class TrustedDocuments(PersistedDocuments):
    """A registered set. Nothing else is run, whether it comes by hash or as a text."""

    is_safelist = True

    def __init__(self, texts: Mapping[str, str]) -> None:
        """`texts` are the documents by their hashes."""
        self._texts = dict(texts)
        self._known = frozenset(texts.values())

    def __len__(self) -> int:
        return len(self._texts)

    def find(self, text: str, hash_: str | None) -> str:
        """Returns the registered text."""
        if text:
            if text not in self._known:
                raise _refusal("QUERY_NOT_IN_SAFELIST", "the document isn't one of those registered here")
            return text
        kept = None if hash_ is None else self._texts.get(hash_)
        if kept is None:
            raise _refusal("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
        return kept


def hash_in(extensions: Mapping[str, Any]) -> str | None:
    """Returns the hash by which a request's extensions name its document, if they do. Raises RequestError."""
    given = extensions.get("persistedQuery")
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("version") != _VERSION:
        raise _refusal("BAD_REQUEST", f"extensions.persistedQuery: must have version {_VERSION}")
    hash_ = given.get("sha256Hash")
    if not isinstance(hash_, str) or len(hash_) != _DIGITS:
        raise _refusal("BAD_REQUEST", "extensions.persistedQuery.sha256Hash: must have 64 hexadecimal digits")
    return hash_.lower()


def _refusal(code: str, message: str) -> RequestError:
    return RequestError(code, [GraphQLError(message)])


# A registered set on disk


class ManifestError(Exception):
    """A set that can't be read; the message names the file and says why."""


def load_manifest(path: Path) -> dict[str, str]:
    """Returns the documents of a registered set by their hashes. Raises ManifestError."""
    try:
        if path.is_dir():
            texts = [file.read_bytes().decode() for file in sorted(path.glob("*.graphql"))]
            return {hash_of(text): text for text in texts}
        return _checked(path, orjson.loads(path.read_bytes()))
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: can't be read: {error}") from None
    except orjson.JSONDecodeError as error:
        raise ManifestError(f"{path}: is no JSON: {error}") from None


def add_to_manifest(path: Path, texts: Iterable[str]) -> None:
    """Adds documents to a registered set: to the file if the path ends in .json, else to the folder."""
    by_hash = {hash_of(text): text for text in texts}
    if path.suffix == ".json":
        known = load_manifest(path) if path.exists() else {}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(known | by_hash, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        return
    path.mkdir(parents=True, exist_ok=True)
    for hash_, text in by_hash.items():
        (path / f"{hash_}.graphql").write_bytes(text.encode())


def _checked(path: Path, content: object) -> dict[str, str]:
    if not isinstance(content, Mapping) or not all(isinstance(text, str) for text in content.values()):
        raise ManifestError(f"{path}: must be an object from SHA-256 to text")
    for hash_, text in content.items():
        if hash_ != hash_of(text):
            raise ManifestError(f"{path}: {hash_} is not the SHA-256 of its text")
    return dict(content)
