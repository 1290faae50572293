"""Errors by which a feed or a subscription ends: expired cursors, resets, outages.

    FeedError
     ├─ InvalidCursorError    not a cursor of this service: forged, cut short, or signed with another key
     ├─ CursorExpiredError    rows after the cursor have been deleted, or are past the retention
     ├─ FeedResetError        the database is another one since the cursor, or rows changed unrecorded
     ├─ BackfillTimeoutError  the lines of a backfill can't be found in time
     └─ FeedUnavailableError  no answer now
         ├─ SlowReadError        the database answers, but a statement takes too long
         └─ UnfitDatabaseError   a database that can't serve a feed
             └─ StandbyError        a standby, which may become a primary

`code` is for programs, the message for people; neither shows anything of the rows.
"""

from typing import ClassVar

from graphql_api.log_feed.feed_schema import FeedSchema


class FeedError(Exception):
    """The feed ends here, and `code` says why."""

    code = "FEED_ERROR"


class InvalidCursorError(FeedError):
    """The cursor was not made by this service, or was cut short. Subscribe without `after`."""

    code = "INVALID_CURSOR"

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class CursorExpiredError(FeedError):
    """The rows after this cursor have been deleted, or are too many, so that some may be missed.

    Subscribe without `after`.
    """

    code = "CURSOR_EXPIRED"

    def __init__(self, reason: str = "what came after this cursor has been deleted") -> None:
        super().__init__(
            f"{reason}, so the feed can't continue without a gap:"
            " subscribe without `after`, and read again what may be missing"
        )


class FeedResetError(FeedError):
    """The history that the cursor belongs to may differ from the database's. Subscribe without `after`.

    `code` is FEED_RESET_FAILOVER, or FEED_RESET_RESTORE, which also stands for changes that weren't recorded:
    they end the incarnation that a cursor names as a restore does.
    """

    _REASONS: ClassVar = {
        "FEED_RESET_FAILOVER": "another server has taken over",
        "FEED_RESET_RESTORE": "the database was replaced, restored or set back, or {}",
    }

    def __init__(self, code: str, schema: FeedSchema) -> None:
        self.code = code
        reason = self._REASONS[code].format(schema.unrecorded)
        super().__init__(
            f"since this cursor was issued, {reason}, so the feed can't continue without a gap:"
            " subscribe without `after`, and read again what may be missing"
        )


class FeedUnavailableError(FeedError):
    """The database can't be read now. Subscribe again, with the last cursor, after a pause."""

    code = "FEED_UNAVAILABLE"


class SlowReadError(FeedUnavailableError):
    """The database answers, but hasn't finished a subscriber's statement in time."""

    def __init__(self) -> None:
        super().__init__("the database takes too long: subscribe again after a pause, with the last cursor")


class BackfillTimeoutError(FeedError):
    """The lines of a backfill can't be found in time: few match the filter. Trying again doesn't help."""

    code = "BACKFILL_TIMEOUT"

    def __init__(self) -> None:
        super().__init__(
            "the lines of the backfill that match `filter` can't be found in time: narrow `filter`, such as"
            " by its `timestamp`, or subscribe without `backfill`, and without a cursor from inside of one"
        )


class UnfitDatabaseError(FeedUnavailableError):
    """A database that can't serve a feed, or an address of a pooler's. The message says what to do."""

    code = "FEED_UNFIT_DATABASE"


class StandbyError(UnfitDatabaseError):
    """The address is a standby's."""

    def __init__(self) -> None:
        super().__init__(
            "the log feed reads from the primary, and this server is a standby:"
            " set DATABASE_DIRECT_URL (or DATABASE_URL) to the primary"
        )
