"""Ports of servers that tests start."""

import socket


def free_port() -> int:
    """Returns a port for a server, which other programs aren't given for a minute.

    The system gives a free port to the next program that asks for any, which may be before the server that
    the port is meant for has started. So this makes a connection to the port, and closes it: while that is in
    TIME_WAIT, only a server that sets SO_REUSEADDR may listen there, as servers do.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname()):
            listening.accept()[0].close()
        port: int = listening.getsockname()[1]
        return port
