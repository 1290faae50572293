"""How long things took, from rows' own timestamps."""

from datetime import datetime, timedelta

from graphql_api.graph.scalars import Duration


def elapsed(start: str | None, end: str | None) -> Duration | None:
    """From one stored timestamp to another; null unless both are there."""
    if start is None or end is None:
        return None
    return Duration(
        (datetime.fromisoformat(end) - datetime.fromisoformat(start)) // timedelta(microseconds=1)
    )
