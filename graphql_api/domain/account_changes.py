"""The feed of accountActivity: which rows of accounts have changed, and which changes a subscriber is shown.

What is shown follows from where a row is now, not from what happened in between: a row that belongs to an
account that a subscriber follows was added or changed; one that has left such an account was removed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import asyncpg

from graphql_api.log_feed.feed_schema import FeedSchema

if TYPE_CHECKING:
    from graphql_api.log_feed.hub import Event

# Whether a row is there, and its account now, by way of its session. An entry that is not of one of the four
# tables names its account itself; a log line is there if everything that its details name belongs to the
# account's owner now.
_PRESENT = """
        LEFT JOIN LATERAL (
            SELECT true AS is_there, session.account_id FROM trades AS trade
            LEFT JOIN trading_sessions AS session ON session.id = trade.session_id
            WHERE page.kind = 'TRADE' AND trade.id = page.id
            UNION ALL
            SELECT true, account_id FROM trading_sessions AS session
            WHERE page.kind = 'SESSION' AND session.id = page.row_id
            UNION ALL
            SELECT true, account_id FROM risk_settings AS settings
            WHERE page.kind = 'RISK_SETTINGS' AND settings.id = page.row_id
            UNION ALL
            SELECT true, account.id FROM tradelocker_accounts AS account
            WHERE page.kind = 'ACCOUNT' AND account.id = page.row_id
            UNION ALL
            SELECT true, page.account_id FROM system_logs AS log
            JOIN tradelocker_accounts AS account ON account.id = page.account_id
            WHERE page.kind = 'LOG' AND log.id = page.row_id
              AND graphql_api.owner_named_in(log.details) = account.user_id
            UNION ALL
            SELECT true, page.account_id
            WHERE page.kind NOT IN ('TRADE', 'SESSION', 'RISK_SETTINGS', 'ACCOUNT', 'LOG')
            OFFSET 0
        ) AS present ON true
        LEFT JOIN LATERAL (
            SELECT user_id FROM tradelocker_accounts AS account WHERE account.id = present.account_id OFFSET 0
        ) AS present_account ON true"""

# Which account a row has left. Its entry names the account, or the entry of its session does, if the same
# transaction has deleted or moved the session.
_FORMER = """
        LEFT JOIN LATERAL (
            SELECT account_id FROM {schema}.entries AS entry
            WHERE page.kind = 'TRADE' AND page.account_id IS NULL
              AND entry.xid = page.xid AND entry.id = CAST(md5('SESSION' || page.session_id) AS uuid) OFFSET 0
        ) AS gone_session ON true
        LEFT JOIN LATERAL (
            SELECT coalesce(page.account_id, gone_session.account_id) AS account_id
            WHERE page.kind IN ('TRADE', 'SESSION', 'RISK_SETTINGS', 'ACCOUNT') OFFSET 0
        ) AS former ON true
        LEFT JOIN LATERAL (
            SELECT user_id FROM {schema}.entries AS entry
            WHERE page.user_id IS NULL AND entry.user_id IS NOT NULL AND entry.xid = page.xid
              AND entry.id = CAST(md5('ACCOUNT' || former.account_id) AS uuid)
            UNION ALL
            SELECT user_id FROM tradelocker_accounts AS account
            WHERE page.user_id IS NULL AND account.id = former.account_id LIMIT 1
        ) AS former_account ON true"""

CHANGES = FeedSchema(
    name="activity",
    columns=(
        *("kind", "change", "row_id", "is_there", "account_id", "user_id"),
        *("former_account_id", "former_user_id"),
    ),
    selected="""
        false AS missing, 0 AS size, page.kind, page.change, coalesce(page.row_id, page.id) AS row_id,
        coalesce(present.is_there, false) AS is_there, present.account_id, present_account.user_id,
        former.account_id AS former_account_id,
        coalesce(page.user_id, former_account.user_id) AS former_user_id""",
    joins=_PRESENT + _FORMER,
    keys=("account_id", "user_id", "former_account_id", "former_user_id"),
    rows="changes",
    unrecorded=(
        "rows changed that aren't recorded one by one (a session moved to another account while a trade was"
        " added to it or left it, or with more than 10,000 trades; an account got another user; a table was"
        " truncated)"
    ),
)


class AccountChange(NamedTuple):
    """A change of a row, as one subscriber is shown it."""

    kind: str
    change: str | None
    """ADDED, CHANGED or REMOVED."""
    id: str | None
    account_id: str | None
    tenant: str | None
    """The user whose rows the subscriber may see; None for every user's."""


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Chooses changes of rows by user, account and kind; None means every user, every account, every kind."""

    user_id: str | None = None
    account_ids: frozenset[str] | None = None
    kinds: frozenset[str] | None = None

    shape: ClassVar[None] = None

    @property
    def keys(self) -> frozenset[str] | None:
        """The accounts, or the user: every row that is shown names one of them.

        None where all rows are shown.
        """
        if self.account_ids is None and self.user_id is not None:
            return frozenset((self.user_id,))
        return self.account_ids

    def values(self) -> Mapping[str, Any]:
        """Returns no parameters: the filter is applied in memory alone."""
        return {}

    def choose(self, events: "Iterable[Event]", cache: dict[Any, Any]) -> "list[Event]":
        """Returns the events that this subscriber is shown: views whose `row` is an `AccountChange`."""
        show = self._show
        return [event.view(change) for event in events if (change := show(event.row)) is not None]

    def _show(self, row: asyncpg.Record) -> AccountChange | None:
        """Returns what this subscriber is shown of a row that changed; None for nothing.

        In this order:

        - it is in a followed account now, and is new or came from one that isn't followed: ADDED;
        - it is in a followed account now, otherwise: CHANGED;
        - it isn't, and the account that it left is followed: REMOVED from that one;
        - it is gone, and whose it was is unknown: REMOVED, for subscribers who follow all accounts.
        """
        kind, account = row["kind"], row["account_id"]
        if self.kinds is not None and kind not in self.kinds:
            return None
        former = row["former_account_id"]
        if former is not None and not self._follows(former, row["former_user_id"]):
            former = None
        if row["is_there"] and self._follows(account, row["user_id"]):
            arrived = row["change"] == "ADDED" or (row["former_account_id"] is not None and former is None)
            return AccountChange(
                kind, "ADDED" if arrived else "CHANGED", row["row_id"], account, self.user_id
            )
        if former is not None:
            return AccountChange(kind, "REMOVED", row["row_id"], former, self.user_id)
        if self == ChangeFilter(kinds=self.kinds) and row["change"] == "REMOVED" and not row["is_there"]:
            return AccountChange(kind, "REMOVED", row["row_id"], None, self.user_id)
        return None

    def _follows(self, account_id: str | None, user_id: str | None) -> bool:
        return (self.user_id is None or self.user_id == user_id) and (
            self.account_ids is None or account_id in self.account_ids
        )
