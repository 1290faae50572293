"""Which of our media types a client accepts."""

from enum import StrEnum
from functools import lru_cache


class Media(StrEnum):
    """What /graphql can answer with."""

    JSON = "application/json"
    RESPONSE = "application/graphql-response+json"
    EVENTS = "text/event-stream"
    HTML = "text/html"


# What a wildcard stands for, best first.
_WILDCARDS = {
    "*/*": Media.JSON,
    "application/*": Media.JSON,
    "text/*": Media.EVENTS,
}

_MOST = 32  # entries that are looked at; browsers send ten


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Media | None:
    """The best of our types that an Accept header allows; None if it allows none.

    Equal weights go to the first named, which is how clients that list several mean it.
    """
    if not accept:
        return Media.JSON
    best, best_weight = None, 0.0
    for entry in accept.lower().split(",", _MOST)[:_MOST]:
        name, *parameters = (part.strip() for part in entry.split(";"))
        media = _WILDCARDS.get(name) or next((media for media in Media if media == name), None)
        weight = _weight(parameters)
        if media is not None and weight > best_weight:
            best, best_weight = media, weight
    return best


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
