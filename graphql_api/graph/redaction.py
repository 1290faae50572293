"""Secrets that ended up in free JSON: shown by their key, never by their value."""

import json
import re
from functools import partial
from typing import Any

import orjson

REDACTED = "[redacted]"

_SECRET = re.compile(
    r"pass(word|wd|phrase|code)|pwd|secret|token|api[-_ ]?key|private[-_ ]?key|access[-_ ]?key|credential"
    r"|authorization|cookie|signature"
    # Short words only where they are words: auth_header and authHeader, not author.
    r"|(?-i:(?<![A-Za-z])([Aa]uth|AUTH|[Pp]ass|PASS|[Pp]in|PIN)(?![a-z]))",
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
    try:
        return orjson.dumps(_without_secrets(verbatim(text)))
    except (RecursionError, orjson.JSONEncodeError):
        return orjson.dumps(REDACTED)  # too deep to look through, and it may hold a secret


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
