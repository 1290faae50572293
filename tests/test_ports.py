"""The helper that finds ports for the servers of tests."""

import errno
import os
import socket

import pytest

from tests.ports import free_port


def test_a_free_port_is_kept_for_the_server_that_it_is_meant_for() -> None:
    port = free_port()

    with socket.socket() as other, pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        other.bind(("127.0.0.1", port))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
