"""Sessions and trades that hypothesis generates, with values that other programs are known to write."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
from hypothesis import strategies as st

from tests.domain.statistics_model import Session, Trade

TENANT = UUID(int=1)
ACCOUNTS = [UUID(int=10 + i) for i in range(3)]
STRATEGIES = [UUID(int=100 + i) for i in range(2)]
GONE = UUID(int=199)

NAN = Decimal("NaN")
# Around both changes of the clock in Berlin and the Azores, one in Havana by which midnight comes twice, an
# ordinary day, and the turns of a month and a year.
ANCHORS = [
    datetime(2026, 3, 28, 22, tzinfo=UTC),
    datetime(2026, 10, 24, 22, tzinfo=UTC),
    datetime(2015, 11, 1, 2, tzinfo=UTC),
    datetime(2026, 6, 10, 9, tzinfo=UTC),
    datetime(2025, 12, 31, 20, tzinfo=UTC),
]


@dataclass(frozen=True)
class TradingData:
    """One tenant's sessions and trades."""

    sessions: Sequence[Session]
    trades: Sequence[Trade]


def money(largest: int) -> st.SearchStrategy[Decimal]:
    """Generates values of numeric(20,8), up to `largest`."""
    units = st.integers(-largest * 10**8, largest * 10**8) | st.integers(-5, 5).map(lambda n: n * 10**8)
    return units.map(lambda n: Decimal(n).scaleb(-8))


moments = st.builds(
    lambda anchor, minutes, micro: anchor + timedelta(minutes=minutes, microseconds=micro),
    st.sampled_from(ANCHORS),
    st.integers(0, 10).map(lambda n: 30 * n),  # few, so that exits coincide
    st.sampled_from([0, 0, 1, 999_999]),
)
balances = st.none() | st.sampled_from([NAN, Decimal(0), Decimal(-5)]) | money(10**6).map(abs)
results = st.none() | st.just(NAN) | st.just(Decimal(0)) | money(100) | money(10**11)
statuses = st.sampled_from(["closed"] * 6 + [" Filled", "filled", "open", "ACTIVE", "canceled", "???"])


@st.composite
def trading_data(draw: st.DrawFn, *, loose: bool = False) -> TradingData:
    """Generates sessions and trades of several accounts; if `loose`, some without an account or a session."""
    nobody = [None] if loose else []
    sessions = [
        Session(UUID(int=1000 + number), draw(st.sampled_from([*ACCOUNTS, *nobody])), balance)
        for number, balance in enumerate(draw(st.lists(balances, min_size=1, max_size=5)))
    ]
    trades = st.builds(
        Trade,
        id=st.uuids(),
        session=st.sampled_from([*sessions, *nobody]),
        symbol=st.sampled_from(["EURUSD", "XAUUSD", "eurusd"]),
        direction=st.sampled_from(["buy", "Long ", "sell", "S", "sideways"]),
        status=statuses,
        entry_price=st.just(NAN) | money(10**5).map(abs),
        size=st.just(NAN) | money(10**3).map(abs),
        entry_time=moments,
        exit_time=st.none() | moments,
        pnl=results,
        strategy=st.sampled_from([None, *STRATEGIES, GONE]),
    )
    return TradingData(sessions, draw(st.lists(trades, max_size=25, unique_by=lambda trade: trade.id)))


async def store(connection: "asyncpg.Connection", data: TradingData) -> None:
    """Replaces the stored rows by these, as another program would."""
    await connection.execute(
        "TRUNCATE users, tradelocker_accounts, trading_sessions, trades, ai_strategies CASCADE"
    )
    await connection.execute(
        "INSERT INTO users (id, email, password_hash) VALUES ($1, 'one@example.com', 'x')", TENANT
    )
    await connection.copy_records_to_table(
        "tradelocker_accounts",
        records=[(account, TENANT, account.hex[-4:], "DEMO") for account in ACCOUNTS],
        columns=["id", "user_id", "account_number", "server"],
    )
    await connection.copy_records_to_table(
        "ai_strategies",
        records=[(strategy, strategy.hex[-4:]) for strategy in STRATEGIES],
        columns=["id", "name"],
    )
    await connection.copy_records_to_table(
        "trading_sessions",
        records=[(session.id, session.account, session.initial_balance) for session in data.sessions],
        columns=["id", "account_id", "initial_balance"],
    )
    columns = ["id", "symbol", "direction", "status", "entry_price", "size", "entry_time", "exit_time", "pnl"]
    await connection.copy_records_to_table(
        "trades",
        records=[
            (
                trade.session and trade.session.id,
                trade.strategy,
                *(getattr(trade, column) for column in columns),
            )
            for trade in data.trades
        ],
        columns=["session_id", "strategy_id", *columns],
    )
