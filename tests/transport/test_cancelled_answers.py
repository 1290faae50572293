"""Requests that are cancelled while their answer is on its way."""

import asyncio
import json
from typing import Any

import pytest

from tests.transport.app import create_app


async def test_an_answer_that_has_begun_gets_no_second_head() -> None:
    body = json.dumps({"query": "{ hello }"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "headers": headers,
        "client": ("192.0.2.1", 1),
    }
    sent: list[str] = []
    writing = asyncio.Event()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            writing.set()
            await asyncio.Event().wait()  # a client that doesn't read

    asking = asyncio.create_task(create_app()(scope, receive, send))
    await writing.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert sent == ["http.response.start", "http.response.body"]
