"""A process that follows accounts' activity, for tests that kill it. Prints each event as a line of JSON.

Its arguments are the database's address, a folder, the viewer's user id (or "operator"), the accounts as
JSON, and a cursor to resume from. Without a cursor it queries the accounts first, and prints their rows.
"""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from graphql_api.domain.account_changes import CHANGES
from graphql_api.log_feed import BufferLimits, Feed, FeedOptions, TailOptions
from graphql_api.postgres.address import Address
from tests.activity.client import Client, FeedEnded, following
from tests.graph import Graph, opened, operator, settings_for, trader

KEY = b"the key that all processes share"
OPTIONS = FeedOptions(
    tail=TailOptions(timeout=2, max_backoff=0.5),
    buffer=BufferLimits(rows=200),
    outage_timeout=30,
    heartbeat=0.2,
)


async def follow(dsn: str, folder: str, user: str, accounts: list[str] | None, after: str | None) -> None:
    """Prints until the process is killed, or the feed can't continue."""
    address = Address.parse(dsn)
    async with opened(settings_for(address, Path(folder))) as process:
        feed = Feed(process.services.database, address, KEY, OPTIONS, CHANGES)
        viewer = operator() if user == "operator" else trader(user)
        graph = Graph(replace(process.services, activity=feed), process.operations, viewer)
        try:
            if after is None:
                client = Client([graph], accounts, 0)
                await client.snapshot()
                after = client.cursor
                say({"copy": client.copy, "cursor": after})
            async with following(graph, accountIds=accounts, after=after) as batches:
                async for batch in batches:
                    for event in batch:
                        say({"event": event})
        except FeedEnded as error:
            say({"error": str(error)})
        await feed.close()


def say(line: dict[str, Any]) -> None:
    """Prints a line and flushes it, so that the client can read it even if the process is killed."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    dsn, folder, user, accounts, *rest = sys.argv[1:]
    asyncio.run(follow(dsn, folder, user, json.loads(accounts), rest[0] if rest else None))
