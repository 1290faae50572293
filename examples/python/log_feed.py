"""Follow the log, without a gap or a repeat, whatever happens to the connection."""

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from typing import Any

from gql import Client, GraphQLRequest, gql
from gql.transport.exceptions import (
    TransportClosed,
    TransportConnectionFailed,
    TransportError,
    TransportQueryError,
)
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

FOLLOW = gql("""
subscription Follow($filter: SystemLogFilter, $after: String, $backfill: Int!) {
  systemLogAdded(filter: $filter, after: $after, backfill: $backfill) {
    cursor
    replayed
    log { id timestamp level component message details }
  }
}
""")
LOGIN = gql("""
mutation Login($email: String!, $password: String!) {
  login(email: $email, password: $password) { accessToken userErrors { message } }
}
""")

# The feed isn't over, it is only away for a moment.
PASSING = {"FEED_UNAVAILABLE", "SERVICE_UNAVAILABLE", "UNAUTHENTICATED"}


async def follow(
    url: str,
    sign_in: Any,
    *,
    filter: dict[str, Any] | None = None,  # noqa: A002 - the API's own word
    after: str | None = None,
    backfill: int = 0,
) -> AsyncIterator[dict[str, Any]]:
    """Events of systemLogAdded, each with the cursor to go on after it.

    `sign_in` gives an access token; it is asked anew for each connection. Raises TransportQueryError where
    the feed can't go on without a gap: its code says why.
    """
    pause = 0.1
    while True:
        try:
            transport = WebsocketsTransport(
                url=url.replace("http", "ws", 1),
                init_payload={"Authorization": f"Bearer {await sign_in()}"},
                subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
            )
            async with Client(transport=transport) as client:
                variables = {"filter": filter, "after": after, "backfill": 0 if after else backfill}
                async for result in client.subscribe(GraphQLRequest(FOLLOW, variable_values=variables)):
                    event = result["systemLogAdded"]
                    yield event
                    after = event["cursor"]
                    pause = 0.1
        except TransportQueryError as error:
            codes = {each.get("extensions", {}).get("code") for each in error.errors or []}
            if not codes & PASSING:
                raise
        except (OSError, TransportClosed, TransportConnectionFailed, TransportError):
            pass  # the connection broke: the cursor is all that has to outlive it
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 2, 10)


async def main(url: str, email: str, password: str, after: str | None = None) -> None:
    """Print events as JSON lines."""

    async def sign_in() -> str:
        async with Client(transport=HTTPXAsyncTransport(url=url)) as client:
            variables = {"email": email, "password": password}
            payload = (await client.execute(GraphQLRequest(LOGIN, variable_values=variables)))["login"]
        if payload["accessToken"] is None:
            raise SystemExit(payload["userErrors"][0]["message"])
        return str(payload["accessToken"])

    async for event in follow(url, sign_in, after=after):
        print(json.dumps(event), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
