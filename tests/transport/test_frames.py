"""Frames that are joined from parts are those that a WebSocket library parses."""

from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from graphql_api.transport.graphql_transport_ws import frames_around

# The lengths around which a frame's head changes.
LENGTHS = st.sampled_from([0, 1, 115, 116, 125, 126, 65_525, 65_526, 65_535, 65_536, 70_000])


def read(stream: bytes) -> list[bytes]:
    reader = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
    reader.receive_data(stream)
    frames = reader.events_received()
    assert all(isinstance(frame, Frame) and frame.opcode is Opcode.TEXT and frame.fin for frame in frames)
    return [bytes(frame.data) for frame in frames if isinstance(frame, Frame)]


@given(st.integers(0, 40), st.lists(LENGTHS, min_size=1, max_size=8))
@example(10, [115, 116, 65_525, 65_526])
def test_frames_are_the_messages(size: int, lengths: list[int]) -> None:
    bodies = [bytes([97 + number]) * length for number, length in enumerate(lengths)]
    for beginning in (b"x" * size, b"y" * size):
        stream = b"".join(beginning.join(pieces) for pieces in frames_around(size, bodies))
        assert read(stream) == [beginning + body for body in bodies]


def test_a_slow_client_is_waited_for_every_so_many_bytes() -> None:
    writes = frames_around(10, [b"x" * 1000] * 500)
    assert len(writes) == 8
    assert max(len((b"y" * 10).join(pieces)) for pieces in writes) < 70_000
