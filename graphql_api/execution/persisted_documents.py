"""Documents that clients name by their hash."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson
from graphql import GraphQLError

from graphql_api.execution.documents import RequestError

_VERSION: Final = 1
_DIGITS: Final = 64


def hash_of(text: str) -> str:
    """The name of a document: the SHA-256 of its text, in lower-case hexadecimal digits."""
    return sha256(text.encode()).hexdigest()


class PersistedDocuments(ABC):
    """Finds the text of a request."""

    @abstractmethod
    def find(self, text: str, name: str | None) -> str:
        """The document's text, given that, or its name, or both. Raises RequestError."""

    def keep(self, name: str, text: str) -> None:  # noqa: B027 - not all learn
        """Remember a text that was given with its name and has turned out to be valid."""


class NoDocuments(PersistedDocuments):
    """None: each request has to bring its own."""

    def find(self, text: str, name: str | None) -> str:
        """The text given."""
        if not text:
            raise _refusal("PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported")
        return text


class AutomaticDocuments(PersistedDocuments):
    """Those that clients have sent before, the least recently used first to go.

    The bound is on characters, and each process has its own: a client that names a document which isn't
    there sends it again.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._characters = 0

    def __len__(self) -> int:
        return len(self._texts)

    def find(self, text: str, name: str | None) -> str:
        """The text given, or the one kept under its name."""
        if text:
            if name is not None and name != hash_of(text):
                raise _refusal("PERSISTED_QUERY_HASH_MISMATCH", "provided sha does not match query")
            return text
        kept = None if name is None else self._texts.get(name)
        if name is None or kept is None:
            # Clients look for this sentence, or for the code.
            raise _refusal("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
        self._texts.move_to_end(name)
        return kept

    def keep(self, name: str, text: str) -> None:
        """Remember a text, and forget others if there is no room for all."""
        if name in self._texts:
            return
        self._texts[name] = text
        self._characters += len(text)
        while self._characters > self._capacity:
            _, forgotten = self._texts.popitem(last=False)
            self._characters -= len(forgotten)


class TrustedDocuments(PersistedDocuments):
    """A registered set. Nothing else is run, whether it comes by name or as a text."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = dict(texts)
        self._known = frozenset(texts.values())

    def __len__(self) -> int:
        return len(self._texts)

    def find(self, text: str, name: str | None) -> str:
        """The registered text."""
        if text:
            if text not in self._known:
                raise _refusal("QUERY_NOT_IN_SAFELIST", "the document isn't one of those registered here")
            return text
        kept = None if name is None else self._texts.get(name)
        if kept is None:
            raise _refusal("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
        return kept


def name_in(extensions: Mapping[str, Any] | None) -> str | None:
    """The name that a request has for its document, if it has one. Raises RequestError."""
    given = (extensions or {}).get("persistedQuery")
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("version") != _VERSION:
        raise _refusal("BAD_REQUEST", f"extensions.persistedQuery: must have version {_VERSION}")
    name = given.get("sha256Hash")
    if not isinstance(name, str) or len(name) != _DIGITS:
        raise _refusal("BAD_REQUEST", "extensions.persistedQuery.sha256Hash: must have 64 hexadecimal digits")
    return name.lower()


def _refusal(code: str, message: str) -> RequestError:
    return RequestError(code, [GraphQLError(message)])


class ManifestError(Exception):
    """A set that can't be read; the message names the file and says why."""


def load_manifest(path: Path) -> dict[str, str]:
    """The texts by their hashes. Raises ManifestError."""
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
    """Write texts to the set, which keeps those it has. A name that ends in .json is a file's."""
    named = {hash_of(text): text for text in texts}
    if path.suffix == ".json":
        known = load_manifest(path) if path.exists() else {}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(known | named, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        return
    path.mkdir(parents=True, exist_ok=True)
    for name, text in named.items():
        (path / f"{name}.graphql").write_bytes(text.encode())


def _checked(path: Path, content: object) -> dict[str, str]:
    if not isinstance(content, Mapping) or not all(isinstance(text, str) for text in content.values()):
        raise ManifestError(f"{path}: must be an object from SHA-256 to text")
    for name, text in content.items():
        if name != hash_of(text):
            raise ManifestError(f"{path}: {name} is not the SHA-256 of its text")
    return dict(content)
