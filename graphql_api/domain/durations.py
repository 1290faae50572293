"""How long things took, from rows' own timestamps."""

from datetime import datetime, timedelta

from graphql_api.postgres.codecs import timestamp
from graphql_api.relational.scalars import Duration


def elapsed(start: str | None, end: str | None) -> Duration | None:
    """From one stored timestamp to another; null unless both are there."""
    if start is None or end is None:
        return None
    length = datetime.fromisoformat(timestamp(end)) - datetime.fromisoformat(timestamp(start))
    return Duration(length // timedelta(microseconds=1))
