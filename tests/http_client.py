"""HTTP clients of tests."""

from typing import Any

import httpx


def http_client(**options: Any) -> httpx.AsyncClient:
    """Returns a client that waits for an answer for as long as a busy machine may take."""
    return httpx.AsyncClient(timeout=100, **options)
