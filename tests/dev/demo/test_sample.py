from collections import Counter, defaultdict
from decimal import Decimal
from uuid import UUID

import pytest

from graphql_api.dev.demo.desk import OPERATOR, TRADER
from graphql_api.dev.demo.market import INSTRUMENTS
from graphql_api.dev.demo.rows import Trade
from graphql_api.dev.demo.sample import DAYS, Sample, make
from graphql_api.postgres.tables import metadata
from graphql_api.postgres.vocabularies import LOG_LEVELS, TRADE_DIRECTIONS, trade_status
from tests.dev.demo.conftest import HASH, NOW, TRADES


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make(seed=7, now=NOW, trades=TRADES, password_hash=HASH)


def status(trade: Trade) -> str:
    return trade_status(trade.status, has_exit=trade.exit_time is not None)


def by_session(sample: Sample) -> dict[UUID | None, list[Trade]]:
    found: defaultdict[UUID | None, list[Trade]] = defaultdict(list)
    for trade in sample.trades:
        found[trade.session_id].append(trade)
    return found


def test_the_same_arguments_give_the_same_rows(sample: Sample) -> None:
    assert repr(make(seed=7, now=NOW, trades=TRADES, password_hash=HASH)) == repr(sample)  # NaN != NaN


def test_another_seed_gives_other_trades(sample: Sample) -> None:
    other = make(seed=8, now=NOW, trades=TRADES, password_hash=HASH)
    assert {trade.id for trade in other.trades}.isdisjoint(trade.id for trade in sample.trades)


def test_a_sample_has_as_many_trades_as_asked(sample: Sample) -> None:
    assert len(sample.trades) == TRADES


def test_a_sample_too_small_to_show_anything_is_refused() -> None:
    with pytest.raises(ValueError, match="100 trades or more"):
        make(seed=7, now=NOW, trades=99, password_hash=HASH)


def test_rows_have_the_columns_of_their_tables(sample: Sample) -> None:
    for name, rows in sample.tables():
        columns = {column.name for column in metadata.tables[name].columns}
        assert set(rows[0]._fields) == columns


def test_the_demo_logins_are_active_and_share_the_password(sample: Sample) -> None:
    users = {user.email: user for user in sample.users}
    for email in (TRADER, OPERATOR):
        assert users[email].is_active
        assert users[email].password_hash == HASH
    assert len(users) == 12


def test_the_trader_has_running_sessions(sample: Sample) -> None:
    [trader] = [user.id for user in sample.users if user.email == TRADER]
    accounts = {account.id for account in sample.tradelocker_accounts if account.user_id == trader}
    running = {each.account_id for each in sample.trading_sessions if each.ended_at is None}
    assert len(accounts) == 3
    assert accounts <= running


def test_sessions_span_nine_months_and_never_overlap_in_an_account(sample: Sample) -> None:
    ends: dict[UUID | None, object] = {}
    starts = [session.started_at for session in sample.trading_sessions]
    assert (NOW - min(starts)).days >= DAYS - 2
    for session in sample.trading_sessions[:-1]:
        previous = ends.get(session.account_id)
        assert previous is None or previous < session.started_at  # type: ignore[operator]
        ends[session.account_id] = session.ended_at
        assert session.ended_at is None or session.started_at < session.ended_at <= NOW


def test_totals_of_a_session_agree_with_its_trades(sample: Sample) -> None:
    trades = by_session(sample)
    for session in sample.trading_sessions[:-1]:
        own = trades[session.id]
        earned = sum((t.pnl for t in own if t.pnl is not None and not t.pnl.is_nan()), Decimal(0))
        assert (session.trades_count, session.pnl) == (len(own), earned)
        assert session.initial_balance is not None
        assert session.final_balance == (
            None if session.ended_at is None else session.initial_balance + earned
        )


def test_a_session_begins_with_what_the_one_before_ended_with(sample: Sample) -> None:
    balances: dict[UUID | None, Decimal | None] = {}
    for session in sample.trading_sessions[:-1]:
        assert balances.get(session.account_id, session.initial_balance) == session.initial_balance
        balances[session.account_id] = session.final_balance


def test_profit_follows_from_prices_size_and_direction(sample: Sample) -> None:
    checked = 0
    for trade in sample.trades:
        direction = TRADE_DIRECTIONS.canonical(trade.direction)
        if trade.exit_price is None or trade.pnl is None or trade.pnl.is_nan() or direction == "OTHER":
            continue
        sign = 1 if direction == "BUY" else -1
        contract = INSTRUMENTS[trade.symbol].contract
        assert trade.pnl == sign * (trade.exit_price - trade.entry_price) * trade.size * contract
        checked += 1
    assert checked > TRADES * 0.9


def test_trades_begin_and_end_within_their_session_and_market_hours(sample: Sample) -> None:
    sessions = {session.id: session for session in sample.trading_sessions}
    for trade in sample.trades:
        is_open = INSTRUMENTS[trade.symbol].is_open
        assert is_open(int(trade.entry_time.timestamp()))
        if trade.session_id is None:
            continue
        session = sessions[trade.session_id]
        end = session.ended_at or NOW
        assert session.started_at <= trade.entry_time < end
        if trade.exit_time is not None:
            assert trade.entry_time < trade.exit_time < end
            assert is_open(int(trade.exit_time.timestamp()))


def test_only_running_sessions_have_open_trades(sample: Sample) -> None:
    running = {session.id for session in sample.trading_sessions if session.ended_at is None}
    found = {trade.session_id for trade in sample.trades if status(trade) == "OPEN"}
    assert found
    assert found <= running


def test_every_status_and_every_symbol_occurs(sample: Sample) -> None:
    statuses = Counter(status(trade) for trade in sample.trades)
    assert set(statuses) == {"PENDING", "OPEN", "CLOSED", "CANCELLED", "REJECTED", "OTHER"}
    assert statuses["CLOSED"] > TRADES * 0.9
    assert {trade.symbol for trade in sample.trades} == set(INSTRUMENTS)


def test_words_are_spelled_in_several_ways(sample: Sample) -> None:
    spellings = {trade.status for trade in sample.trades} | {trade.direction for trade in sample.trades}
    assert {"closed", "filled", "Closed", "canceled", "cancelled", "buy", "long", "b"} <= spellings
    levels = {line.level for line in sample.system_logs}
    assert {"INFO", "info", "WARN"} <= levels
    assert {LOG_LEVELS.canonical(level) for level in levels} == {*LOG_LEVELS.spellings, "OTHER"}


def test_rows_that_readers_must_bear_are_in_the_trader_s_running_session(sample: Sample) -> None:
    strategies = {strategy.id for strategy in sample.ai_strategies}
    first = sample.tradelocker_accounts[0].id
    [session] = [s for s in sample.trading_sessions if s.account_id == first and s.ended_at is None]
    trades = by_session(sample)[session.id]
    assert any(t.strategy_id is not None and t.strategy_id not in strategies for t in trades)
    assert any(t.strategy_id is None for t in trades)
    assert any(t.pnl is not None and t.pnl.is_nan() for t in trades)
    assert any(status(t) == "CLOSED" and t.pnl is None for t in trades)
    assert any(status(t) == "OTHER" for t in trades)
    assert any(TRADE_DIRECTIONS.canonical(t.direction) == "OTHER" for t in trades)
    assert any(t.status == "filled" and t.exit_time is None for t in trades)


def test_a_trade_without_session_and_a_session_without_account_exist(sample: Sample) -> None:
    assert [trade.session_id for trade in sample.trades].count(None) == 1
    assert [session.account_id for session in sample.trading_sessions].count(None) == 1


def test_accounts_have_risk_settings_once_but_for_the_first_and_the_third(sample: Sample) -> None:
    rows = Counter(row.account_id for row in sample.risk_settings)
    counts = [rows[account.id] for account in sample.tradelocker_accounts]
    assert counts == [2, 1, 0] + [1] * (len(counts) - 3)


def test_no_trade_is_larger_than_its_account_allows(sample: Sample) -> None:
    limits = {row.account_id: row.max_position_size for row in sample.risk_settings}
    accounts = {session.id: session.account_id for session in sample.trading_sessions}
    for trade in sample.trades:
        if trade.session_id is not None and (account := accounts[trade.session_id]) in limits:
            limit = limits[account]
            assert limit is not None
            assert 0 < trade.size <= limit


def test_strategies_that_trade_have_a_score_and_daily_performance(sample: Sample) -> None:
    rows = Counter(row.strategy_id for row in sample.strategy_performance)
    for strategy in sample.ai_strategies:
        assert (strategy.performance_score is not None) == (rows[strategy.id] > 30)
    assert any(rows[strategy.id] == 0 for strategy in sample.ai_strategies)


def test_performance_of_a_period_agrees_with_the_trades_closed_in_it(sample: Sample) -> None:
    row = max(sample.strategy_performance, key=lambda each: each.trades_count)
    earned = [
        trade.pnl
        for trade in sample.trades
        if trade.strategy_id == row.strategy_id
        and trade.pnl is not None
        and not trade.pnl.is_nan()
        and trade.exit_time is not None
        and row.period_start <= trade.exit_time < row.period_end
    ]
    won = sum((pnl for pnl in earned if pnl > 0), Decimal(0))
    lost = -sum((pnl for pnl in earned if pnl < 0), Decimal(0))
    assert row.trades_count == len(earned)
    assert row.win_rate == (Decimal(sum(pnl > 0 for pnl in earned)) / len(earned)).quantize(Decimal("0.0001"))
    assert row.profit_factor == (won / lost).quantize(Decimal("0.0001"))


def test_parameters_and_details_hold_secrets_to_be_hidden(sample: Sample) -> None:
    assert any("api_token" in (strategy.parameters or "") for strategy in sample.ai_strategies)
    assert any('"token"' in (line.details or "") for line in sample.system_logs)


def test_nothing_is_later_than_now(sample: Sample) -> None:
    assert max(line.timestamp for line in sample.system_logs) <= NOW
    assert max(row.timestamp for row in sample.strategy_performance) <= NOW
    assert max(user.created_at for user in sample.users) <= NOW
