"""The close codes of sockets: those of graphql-transport-ws, and those that the server sends by itself."""

from enum import IntEnum


class CloseCode(IntEnum):
    """Why the service closes a socket. Clients reconnect after 1013, 4403 and 4408, and give up after others.

    It never uses 1011 (internal error): graphql-ws, which most clients in browsers use, gives up after it.
    """

    TRY_AGAIN_LATER = 1013
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    BAD_SUBPROTOCOL = 4406
    TIMEOUT = 4408
    SUBSCRIBER_EXISTS = 4409
    TOO_MANY_INITS = 4429


class ServerCloseCode(IntEnum):
    """Why the server closes a socket by itself, without asking the application.

    Clients reconnect after 1012 and 4408, and give up after the others.
    """

    PROTOCOL_ERROR = 1002
    """Frames that break WebSocket's rules."""
    INVALID_DATA = 1007
    """A text that isn't UTF-8."""
    MESSAGE_TOO_BIG = 1009
    SERVICE_RESTART = 1012
    """The process stops."""
    KEEPALIVE_TIMEOUT = CloseCode.TIMEOUT
    """The client answers no pings. uvicorn's own code would be 1011."""
