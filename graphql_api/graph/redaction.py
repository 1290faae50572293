"""Secrets that ended up in free JSON: shown by their key, never by their value."""

import json
import re
from functools import partial
from typing import Any

import orjson

REDACTED = "[redacted]"

_SECRET = re.compile(
    r"pass(word|wd|phrase)?|pwd|secret|token|api[-_ ]?key|private[-_ ]?key|access[-_ ]?key|credential"
    r"|authorization|cookie|\bauth\b|signature|\bpin\b",
    re.IGNORECASE,
)
# What could be a key that the pattern fits: most documents have none and pass as they are.
_SUSPECT = re.compile(_SECRET.pattern + r"|\\u", re.IGNORECASE)


def redact(text: str) -> Any:
    """JSON text as it stands, or with the values of secret-looking keys replaced.

    Numbers keep every digit either way.
    """
    if not _SUSPECT.search(text):
        return text
    verbatim = partial(json.loads, parse_float=_Verbatim, parse_int=_Verbatim)
    return orjson.dumps(_without_secrets(verbatim(text)))


class _Verbatim(str):
    """A number's own text."""

    __slots__ = ()


def _without_secrets(value: Any) -> Any:
    match value:
        case dict():
            return {
                key: REDACTED if _SECRET.search(key) else _without_secrets(item)
                for key, item in value.items()
            }
        case list():
            return [_without_secrets(item) for item in value]
        case _Verbatim():
            return orjson.Fragment(str(value))
        case _:
            return value
