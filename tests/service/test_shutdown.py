"""A process that stops carries on with a change whose client has gone."""

import asyncio
import json
import signal

import asyncpg
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from graphql_api.identity import service_tokens
from graphql_api.identity.viewer import Scope
from tests import factories
from tests.service.conftest import Service
from tests.service.sockets import socket_of

pytestmark = pytest.mark.slow

CHANGE = """
mutation ($id: ID!) {
  updateRiskSettings(accountId: $id, input: {maxDailyLoss: "10"}) { userErrors { code } }
}
"""
HOLD = """
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END $$;
CREATE TRIGGER hold BEFORE INSERT ON risk_settings FOR EACH ROW EXECUTE FUNCTION hold()
"""
HELD = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE datname = current_database() AND locktype = 'advisory' AND objid = 42 AND NOT granted
"""


async def test_a_change_of_a_socket_that_it_closed_is_made(
    service: Service, connection: "asyncpg.Connection"
) -> None:
    user = await factories.user(connection)
    account = await factories.account(connection, user)
    scopes = [Scope.GRAPH_READ, Scope.RISK_WRITE]
    made = await service_tokens.create(service.database, "test", scopes, user_id=user, lifetime=None)
    await connection.execute(HOLD)

    async with socket_of(service, made.text) as socket, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(42)")
        payload = {"query": CHANGE, "variables": {"id": account}}
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        while not await connection.fetchval(HELD):
            await asyncio.sleep(0.01)
        service.process.send_signal(signal.SIGTERM)
        assert await close_code(socket) == 1012
        while "Waiting for application shutdown" not in service.log.read_text():
            await asyncio.sleep(0.01)
        assert service.process.poll() is None  # it waits for the change, and has nothing else to wait for

    assert await asyncio.to_thread(service.process.wait, 100) == 0
    assert await connection.fetchval("SELECT count(*) FROM risk_settings") == 1


async def close_code(socket: ClientConnection) -> int | None:
    """The code and the reason with which the socket is closed."""
    try:
        while True:
            await socket.recv()
    except ConnectionClosed:
        return socket.close_code
