"""The key that signs tokens and cursors."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from graphql_api.settings import Settings

LENGTH: Final = 32
"""Bytes: what HMAC-SHA256 can make use of."""

_ADVICE = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'


class SecretKeyError(Exception):
    """There is no key, or one that is too short. The message says what to do, and holds nothing of it."""


def signing_key(settings: Settings) -> bytes:
    """The key to sign with: GRAPHQL_API_SECRET_KEY, or in development one kept in the data folder.

    All processes that serve together need the same. Raises SecretKeyError where production has none, and for
    a key of fewer than 32 bytes.
    """
    if settings.secret_key is not None:
        return _checked(settings.secret_key.get_secret_value().encode(), "GRAPHQL_API_SECRET_KEY")
    if settings.profile == "production":
        raise SecretKeyError(f"set GRAPHQL_API_SECRET_KEY to 32 secret bytes or more, made by: {_ADVICE}")
    return _kept(settings.data_dir / "secret_key")


def derive(key: bytes, purpose: str) -> bytes:
    """A key of its own for each purpose, so that what one signs never passes for another's."""
    return hmac.digest(key, purpose.encode(), hashlib.sha256)


def _kept(path: Path) -> bytes:
    """The key in this file, made first if need be. Processes that start together agree on one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(LENGTH))
            os.link(draft, path)  # complete or not at all, and never over another's
        except FileExistsError:
            pass  # another process was first: its key is ours too
        finally:
            draft.unlink(missing_ok=True)
    return _checked(path.read_bytes().strip(), str(path))


def _checked(key: bytes, name: str) -> bytes:
    if len(key) < LENGTH:
        raise SecretKeyError(
            f"{name} holds {len(key)} bytes, and needs {LENGTH} or more; {_ADVICE} makes some"
        )
    return key
