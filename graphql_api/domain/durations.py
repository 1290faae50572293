"""How long things took, from rows' own timestamps."""

from datetime import datetime, timedelta

from graphql_api.postgres.type_codecs import rfc3339
from graphql_api.relational.scalars import Duration


def elapsed(start: str | None, end: str | None) -> Duration | None:
    """From one stored timestamp to another; null unless both are there."""
    if start is None or end is None:
        return None
    length = datetime.fromisoformat(rfc3339(end)) - datetime.fromisoformat(rfc3339(start))
    return Duration(length // timedelta(microseconds=1))
