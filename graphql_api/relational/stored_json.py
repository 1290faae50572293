"""Redacts and bounds stored JSON for clients: no secrets, and no depth or numbers that parsers refuse.

Other programs may store any JSON, and a single value that a client's parser refuses makes the whole response
unreadable. Most documents need no change: a search of their text shows that without parsing them.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import orjson

MAX_DEPTH = 40
"""How deep objects and lists may nest.

A list below two others, with edges and nodes, is some 20 levels deep itself, and the strictest of common
parsers (.NET's) reads 64 by default; Ruby's reads 100, Rust's 128, PHP's 512, Python's about 1000.
"""
MAX_NUMBER_LENGTH = 1000
"""How many characters a number may have: the limit of Java's Jackson."""

TOO_DEEP = "[too deep]"
REDACTED = "[redacted]"

_LARGEST_DIGITS = 309
"""The digits before the point of the largest double. Stored numbers have no exponents."""

_ESCAPE = re.compile(rb"\\.")
_STRING = re.compile(rb'"[^"]*"')
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * _LARGEST_DIGITS
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]|-?\d[\d.eE+-]*')

_SECRET = re.compile(
    r"pass(word|wd|phrase|code)|pwd|secret|token|api[-_ ]?key|private[-_ ]?key|access[-_ ]?key|credential"
    r"|authorization|cookie|signature"
    # Short words only where they are words: auth_header and authHeader, not author.
    r"|(?-i:(?<![A-Za-z])([Aa]uth|AUTH|[Pp]ass|PASS|[Pp]in|PIN|[Oo]tp|OTP|[Jj]wt|JWT|[Bb]earer)(?![a-z]))",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(://[^\s/?#@:\"]*:)[^\s/?#@\"]+(?=@)")
# A document without such a key or URL is returned as it is. Most contain none of these words either, which
# takes a tenth of the time to find out.
_WORDS: tuple[str, ...] = ("pass", "pwd", "secret", "token", "key", "credential", "auth", "cookie")
_WORDS += ("signature", "pin", "otp", "jwt", "bearer", "://", "\\u", "\\/")
_SUSPECT = re.compile(_SECRET.pattern + "|" + _URL_PASSWORD.pattern + r"|\\[u/]", re.IGNORECASE)


def client_json(text: str) -> str | bytes:
    """Returns JSON text as clients may see it, most often unchanged.

    - A value nested deeper than MAX_DEPTH becomes the string TOO_DEEP.
    - A number that no double holds, or longer than MAX_NUMBER_LENGTH, becomes a string of its digits. All
      others keep every digit.
    - The values of secret-looking keys, and passwords in URLs, become REDACTED.
    """
    if _may_be_unreadable(text):
        text = "".join(_readable(text))
    folded = text.casefold()
    if not any(word in folded for word in _WORDS) or not _SUSPECT.search(text):
        return text
    document = json.loads(text, parse_float=_Verbatim, parse_int=_Verbatim)
    return orjson.dumps(_without_secrets(document))


def _may_be_unreadable(text: str) -> bool:
    """Whether a text is nested too deep, or has so many digits in a row that a number may be too large."""
    if len(text) < 2 * MAX_DEPTH:
        return False
    data = text.encode()
    has_long_number = len(data) >= _LARGEST_DIGITS and _LONG_NUMBER in data.translate(_TO_ZERO)
    return has_long_number or (data.count(b"[") + data.count(b"{") > MAX_DEPTH and _is_too_deep(data))


def _is_too_deep(data: bytes) -> bool:
    if b"\\" in data:
        data = _ESCAPE.sub(b"", data)
    # Only brackets and quotes are left. Two quotes in a row are an empty string, or the end and the start of
    # two.
    brackets = data.translate(_TO_SQUARE, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in brackets:
        brackets = _STRING.sub(b"", brackets)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # the innermost level
        if not brackets:
            return False
    return True


def _readable(text: str) -> Iterator[str]:
    """Yields the parts of a text, with markers for what is too deep, and too large numbers as strings."""
    depth = kept = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                yield f'{text[kept : token.start()]}"{TOO_DEEP}"'
        elif first in "]}":
            if depth == MAX_DEPTH + 1:
                kept = token.end()
            depth -= 1
        elif first != '"' and depth <= MAX_DEPTH and _is_too_large(token[0]):
            yield f'{text[kept : token.start()]}"{token[0]}"'
            kept = token.end()
    yield text[kept:]


def _is_too_large(number: str) -> bool:
    return len(number) > MAX_NUMBER_LENGTH or math.isinf(float(number))


class _Verbatim(str):
    """A number's text, exactly as it is stored."""

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
