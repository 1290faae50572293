"""A registered set of documents on disk.

Either a JSON file, an object from SHA-256 to text as code generators write it; or a folder of .graphql files,
one document each, whatever their names.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson

from graphql_api.execution.persisted import hash_of


class RegistryError(Exception):
    """A set that can't be read; the message names the file and says why."""


def load(path: Path) -> dict[str, str]:
    """The texts by their hashes. Raises RegistryError."""
    try:
        if path.is_dir():
            texts = [file.read_bytes().decode() for file in sorted(path.glob("*.graphql"))]
            return {hash_of(text): text for text in texts}
        return _check(path, orjson.loads(path.read_bytes()))
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path}: can't be read: {error}") from None
    except orjson.JSONDecodeError as error:
        raise RegistryError(f"{path}: is no JSON: {error}") from None


def add(path: Path, texts: Iterable[str]) -> None:
    """Write texts to the set, which keeps those it has. A name that ends in .json is a file's."""
    named = {hash_of(text): text for text in texts}
    if path.suffix == ".json":
        known = load(path) if path.exists() else {}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(known | named, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
        return
    path.mkdir(parents=True, exist_ok=True)
    for name, text in named.items():
        (path / f"{name}.graphql").write_bytes(text.encode())


def _check(path: Path, content: object) -> dict[str, str]:
    if not isinstance(content, Mapping) or not all(isinstance(text, str) for text in content.values()):
        raise RegistryError(f"{path}: must be an object from SHA-256 to text")
    for name, text in content.items():
        if name != hash_of(text):
            raise RegistryError(f"{path}: {name} is not the SHA-256 of its text")
    return dict(content)
