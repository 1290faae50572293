"""Cursors as text: encoding, decoding, and forged ones."""

import base64
import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphql_api.log_feed import InvalidCursorError
from graphql_api.log_feed.feed_offset import MAX_IN_PROGRESS, Cursor, CursorCodec, FeedOffset

CODEC = CursorCodec(b"a key of the tests")
XIDS = st.integers(1, 2**63)
IDS = st.uuids().map(str)


@st.composite
def offsets(draw: st.DrawFn) -> FeedOffset:
    next_xid = draw(XIDS)
    in_progress = draw(st.sets(st.integers(0, next_xid - 1), max_size=20))
    partial = draw(st.none() | st.tuples(st.integers(0, next_xid - 1), IDS))
    return FeedOffset(next_xid, tuple(sorted(in_progress)), partial)


cursors = st.builds(
    Cursor,
    offset=offsets(),
    incarnation=st.integers(0, 2**63 - 1),
    lsn=st.integers(0, 2**64 - 1),
    replayed=st.none() | st.tuples(st.sampled_from(("-infinity", "2026-11-22 09:00:00.000001+00")), IDS),
)

SOME = Cursor(FeedOffset(1_000_000, (999_998,), (999_999, str(UUID(int=7)))), 2**62 + 5, 2**40)


@given(cursors)
def test_a_cursor_reads_as_it_was_written(cursor: Cursor) -> None:
    assert CODEC.decode(CODEC.encode(cursor)) == cursor


@given(cursors)
def test_a_cursor_is_safe_in_a_url(cursor: Cursor) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]+", CODEC.encode(cursor))


def test_a_usual_cursor_is_short() -> None:
    assert len(CODEC.encode(SOME)) < 90


def test_the_longest_cursor_can_be_read() -> None:
    in_progress = tuple(range(2**60, 2**60 + MAX_IN_PROGRESS * 10**6, 10**6))
    cursor = Cursor(FeedOffset(2**61, in_progress), SOME.incarnation, SOME.lsn)
    assert CODEC.decode(CODEC.encode(cursor)) == cursor


def test_no_text_that_differs_in_a_character_is_a_cursor() -> None:
    text = CODEC.encode(SOME)
    for place, character in enumerate(text):
        other = "A" if character != "A" else "B"
        with pytest.raises(InvalidCursorError):
            CODEC.decode(text[:place] + other + text[place + 1 :])


def test_no_text_that_was_cut_short_is_a_cursor() -> None:
    text = CODEC.encode(SOME)
    for length in range(len(text)):
        with pytest.raises(InvalidCursorError):
            CODEC.decode(text[:length])


def test_a_cursor_of_another_key_is_refused() -> None:
    with pytest.raises(InvalidCursorError):
        CursorCodec(b"another key").decode(CODEC.encode(SOME))


@given(st.text() | st.text("AB-_=+/ ", max_size=200))
def test_no_other_text_is_a_cursor(text: str) -> None:
    with pytest.raises(InvalidCursorError):
        CODEC.decode(text)


def test_a_text_longer_than_any_cursor_is_refused() -> None:
    with pytest.raises(InvalidCursorError):
        CODEC.decode("A" * 100_000)


def test_what_is_signed_but_makes_no_sense_is_refused() -> None:
    body = bytes((1, 0, 0))
    signed = base64.urlsafe_b64encode(body + CODEC._sign(body)).rstrip(b"=").decode()
    with pytest.raises(InvalidCursorError):
        CODEC.decode(signed)
