"""Secrets that ended up in free JSON: shown by their key, never by their value; URLs without passwords."""

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
    r"|(?-i:(?<![A-Za-z])([Aa]uth|AUTH|[Pp]ass|PASS|[Pp]in|PIN|[Oo]tp|OTP|[Jj]wt|JWT|[Bb]earer)(?![a-z]))",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(://[^\s/?#@:\"]*:)[^\s/?#@\"]+(?=@)")
# What could be a key that the pattern fits, or such a URL: most documents have none and pass as they are,
# and nearly as many have none of these words in them, which is told in a tenth of the time.
_WORDS: tuple[str, ...] = ("pass", "pwd", "secret", "token", "key", "credential", "auth", "cookie")
_WORDS += ("signature", "pin", "otp", "jwt", "bearer", "://", "\\u", "\\/")
_SUSPECT = re.compile(_SECRET.pattern + "|" + _URL_PASSWORD.pattern + r"|\\[u/]", re.IGNORECASE)


def redact(text: str) -> Any:
    """JSON text as it stands, or with the values of secret-looking keys and passwords in URLs replaced.

    Numbers keep every digit either way.
    """
    folded = text.casefold()
    if not any(word in folded for word in _WORDS) or not _SUSPECT.search(text):
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
        case str():
            return _URL_PASSWORD.sub(rf"\g<1>{REDACTED}", value)
        case _:
            return value
