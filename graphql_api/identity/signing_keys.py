"""The secret key that signs tokens and cursors, and keys derived from it."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from graphql_api.settings import Settings

MIN_LENGTH: Final = 32
"""Bytes; the output length of SHA-256."""

_COMMAND = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'


class SecretKeyError(Exception):
    """The key is missing or too short. The message says what to do, and contains no part of the key."""


def signing_key(settings: Settings) -> bytes:
    """Returns GRAPHQL_API_SECRET_KEY, or in development a key stored in the data folder.

    All processes that serve together need the same. Raises SecretKeyError if production has none, and for a
    key shorter than 32 bytes.
    """
    if settings.secret_key is not None:
        return _checked(settings.secret_key.get_secret_value().encode(), "GRAPHQL_API_SECRET_KEY")
    if settings.profile == "production":
        raise SecretKeyError(f"set GRAPHQL_API_SECRET_KEY to 32 secret bytes or more, made by: {_COMMAND}")
    return _stored_key(settings.data_dir / "secret_key")


def derive_key(key: bytes, purpose: str) -> bytes:
    """Returns a key for one purpose, so that a signature for one purpose is never valid for another."""
    return hmac.digest(key, purpose.encode(), hashlib.sha256)


def _stored_key(path: Path) -> bytes:
    """Returns the key in this file, created if it is missing. Processes that start together agree on one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(MIN_LENGTH))
            os.link(draft, path)  # atomic, and never replaces another process's key
        except FileExistsError:
            pass  # another process was first: its key is used
        finally:
            draft.unlink(missing_ok=True)
    return _checked(path.read_bytes().strip(), str(path))


def _checked(key: bytes, name: str) -> bytes:
    if len(key) < MIN_LENGTH:
        raise SecretKeyError(
            f"{name} holds {len(key)} bytes, and needs {MIN_LENGTH} or more; {_COMMAND} makes some"
        )
    return key
