"""Requests over HTTP."""

from typing import Any

import httpx

RESPONSE = "application/graphql-response+json"


async def post(client: httpx.AsyncClient, query: str, **parameters: Any) -> httpx.Response:
    return await client.post("/graphql", json={"query": query, **parameters})


def code(response: httpx.Response) -> str:
    return str(response.json()["errors"][0]["extensions"]["code"])
