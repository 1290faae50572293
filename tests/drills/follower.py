"""A process that follows the log feed, for tests that kill it. Prints each event as a line of JSON.

Its arguments are the database's address and a cursor to resume from.
"""

import asyncio
import json
import sys

from graphql_api.log_feed import BufferLimits, Feed, FeedError, FeedOptions, LogFilter, TailOptions
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database

KEY = b"the key that all processes share"


async def follow(dsn: str, after: str | None) -> None:
    """Prints until the process is killed, or the feed can't continue."""
    address = Address.parse(dsn)
    options = FeedOptions(
        tail=TailOptions(timeout=2, max_backoff=0.5),
        buffer=BufferLimits(rows=200),
        outage_timeout=30,
        heartbeat=0.2,
    )
    feed = Feed(Database(address), address, KEY, options)
    try:
        async with await feed.subscribe(LogFilter(), after=after) as subscription:
            say({"cursor": subscription.cursor})
            while True:
                events = await subscription.batch(progress=True)
                for event in events:
                    say({"cursor": event.cursor, "message": event.row["message"]})
                if not events:
                    say({"cursor": subscription.cursor})
    except FeedError as error:
        say({"error": error.code})


def say(line: dict[str, str]) -> None:
    """Prints a line and flushes it, so that the client can read it even if the process is killed."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
