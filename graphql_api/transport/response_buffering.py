"""How a response reaches its connection."""

import asyncio

_CONTINUE = b"HTTP/1.1 100"
_STREAMED = b"\r\ntransfer-encoding: chunked\r\n"


class HeadWithBody(asyncio.Transport):
    """A transport for one response, which sends the head together with what comes first of the body.

    uvicorn writes them one after the other, and each write is a system call and a packet: a tenth of a small
    query's time. A body without a stated length isn't waited for: it may be events, and slow in coming.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._head = b""
        self._begun = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or keep a head until there is something to send with it."""
        if self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        elif self._begun or data[:12] == _CONTINUE:
            self._transport.write(data)
        else:
            self._begun = True
            if _STREAMED in bytes(data):
                self._transport.write(data)
            else:
                self._head = bytes(data)

    def close(self) -> None:
        """Send what is left, and close."""
        if self._head:
            self.write(b"")
        self._transport.close()
