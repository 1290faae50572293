"""A process that follows the feed, to be killed: prints a line of JSON for every event.

Run with the database's address and, to resume, a cursor.
"""

import asyncio
import json
import sys

from graphql_api.log_feed import BufferLimits, Feed, FeedError, FeedOptions, LogFilter, TailOptions
from graphql_api.postgres.address import Address
from graphql_api.postgres.database import Database

KEY = b"the key that all processes share"


async def follow(dsn: str, after: str | None) -> None:
    """Print until killed, or until the feed can't go on."""
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
    """One line, at once: what a client has read is what it has."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
