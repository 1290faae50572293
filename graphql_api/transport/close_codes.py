"""How a WebSocket ends."""

from enum import IntEnum

_LONGEST_REASON = 120  # a close frame has room for 123 bytes


class CloseCode(IntEnum):
    """Why we close a socket, in the protocol's numbers. Clients come back after 1013, 4403 and 4408."""

    INTERNAL_ERROR = 1011
    TRY_AGAIN_LATER = 1013
    BAD_REQUEST = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    BAD_SUBPROTOCOL = 4406
    INIT_TIMEOUT = 4408
    SUBSCRIBER_EXISTS = 4409
    TOO_MANY_INITS = 4429


class SocketClosed(Exception):  # noqa: N818 - an end, and not always an error
    """The socket ends: closed by us with `code`, or by the client where that is None."""

    def __init__(self, code: CloseCode | None = None, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
