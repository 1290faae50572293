"""The trades of `demo.trades`, made inside PostgreSQL: what is drawn there is a hash of a number here.

Only the runs and the prices cross the wire, so that millions of rows take seconds each.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from graphql_api.demo.bulk import Progress
from graphql_api.demo.market import BAR, Series
from graphql_api.demo.rows import Session, money
from graphql_api.demo.sessions import Run
from graphql_api.demo.trades import hands

if TYPE_CHECKING:
    import asyncpg

_CHUNK = 250_000
_RISK = 400  # millionths of the balance in a trade, a tenth of the desk's: there are so many more trades

_PREPARE = """
    CREATE TEMPORARY TABLE demo_bars (
        symbol text, bar int, at bigint, price bigint, change bigint
    ) ON COMMIT DROP;
    CREATE TEMPORARY TABLE demo_runs (
        run int, account_id uuid, session_id uuid, balance numeric, running bool,
        first_trade bigint, trades int, hands int
    ) ON COMMIT DROP;
    CREATE TEMPORARY TABLE demo_hands (
        run int, hand int, symbol text, strategy_id uuid, first_bar int, last_bar int, hold int, edge int,
        size int, largest int, contract int, tick int
    ) ON COMMIT DROP;
    CREATE FUNCTION pg_temp.draw(trade bigint, salt bigint, below bigint) RETURNS bigint
        LANGUAGE sql IMMUTABLE AS 'SELECT (hashint8extended(trade, salt) & 9223372036854775807) % below';
    SET LOCAL work_mem = '64MB';
    SET LOCAL maintenance_work_mem = '512MB';
"""

# Until the last step, money is a whole number of 1e-8 and time one of microseconds since 1970.
_MAKE_TRADES = """
    WITH drawn AS (
        SELECT
            number, salt, run.session_id, run.running, hand.*,
            hand.first_bar + pg_temp.draw(number, salt + 1, hand.last_bar - hand.first_bar) AS entry_bar,
            pg_temp.draw(number, salt + 2, 2 * hand.hold) + 1 AS held,
            pg_temp.draw(number, salt + 3, $3::bigint * 1000000) AS entry_offset,
            pg_temp.draw(number, salt + 4, $3::bigint * 1000000) AS exit_offset,
            least(greatest(hand.size * (60 + pg_temp.draw(number, salt + 5, 81)) / 100, 1), hand.largest)
                AS lots,
            pg_temp.draw(number, salt + 6, 1000) AS fate,
            pg_temp.draw(number, salt + 7, 40) = 0 AS manual
        FROM (SELECT $4::bigint AS salt) given
        CROSS JOIN demo_runs run
        CROSS JOIN LATERAL generate_series(run.first_trade, run.first_trade + run.trades - 1) AS number
        JOIN demo_hands hand ON hand.run = run.run AND hand.hand = pg_temp.draw(number, salt, run.hands)
        WHERE run.run BETWEEN $1 AND $2
    ), priced AS (
        SELECT
            drawn.*,
            entry.at * 1000000 + entry_offset AS entry_time,
            exit.at * 1000000 + exit_offset AS exit_time,
            (entry.price + entry.change * (entry_offset / 1000000) / $3 + tick / 2) / tick * tick
                AS entry_price,
            (exit.price + exit.change * (exit_offset / 1000000) / $3 + tick / 2) / tick * tick
                AS exit_price
        FROM drawn
        JOIN demo_bars entry ON entry.symbol = drawn.symbol AND entry.bar = entry_bar
        JOIN demo_bars exit ON exit.symbol = drawn.symbol AND exit.bar = least(entry_bar + held, last_bar)
    ), decided AS (
        SELECT
            priced.*,
            (exit_price >= entry_price) = (pg_temp.draw(number, salt + 8, 1000) < edge) AS bought,
            CASE
                WHEN fate < 30 THEN 'cancelled'
                WHEN fate < 45 THEN 'rejected'
                WHEN running AND entry_bar + held > last_bar THEN 'open'
                ELSE 'closed'
            END AS status
        FROM priced
    )
    INSERT INTO trades (
        id, session_id, symbol, direction, entry_price, exit_price, size, entry_time, exit_time, pnl, status,
        strategy_id, ai_confidence
    )
    SELECT
        encode(
            int8send(hashint8extended(number, salt + 10)) || int8send(hashint8extended(number, salt + 11)),
            'hex'
        )::uuid,
        session_id,
        symbol,
        CASE WHEN bought THEN 'buy' ELSE 'sell' END,
        entry_price * 0.00000001,
        CASE WHEN status = 'closed' THEN exit_price * 0.00000001 END,
        lots * 0.01,
        timestamptz 'epoch' + entry_time * interval '1 microsecond',
        CASE WHEN status = 'closed' THEN timestamptz 'epoch' + exit_time * interval '1 microsecond' END,
        CASE WHEN status = 'closed' THEN
            ((exit_price - entry_price) * CASE WHEN bought THEN 1 ELSE -1 END * lots * contract / 100)
                * 0.00000001
        END,
        status,
        CASE WHEN NOT manual THEN strategy_id END,
        CASE WHEN NOT manual THEN (5000 + pg_temp.draw(number, salt + 9, 4600)) * 0.0001 END
    FROM decided
"""

_ADD_UP = """
    WITH results AS (
        SELECT session_id, count(*) AS trades_count, sum(pnl) AS pnl
        FROM trades JOIN demo_runs USING (session_id) GROUP BY session_id
    ), chained AS (
        SELECT
            session_id, running, coalesce(trades_count, 0) AS trades_count, coalesce(pnl, 0) AS pnl,
            balance + sum(coalesce(pnl, 0)) OVER (PARTITION BY account_id ORDER BY run) AS final_balance
        FROM demo_runs LEFT JOIN results USING (session_id)
    )
    UPDATE trading_sessions SET
        initial_balance = chained.final_balance - chained.pnl,
        final_balance = CASE WHEN NOT running THEN chained.final_balance END,
        pnl = chained.pnl,
        trades_count = chained.trades_count
    FROM chained WHERE id = session_id
"""


async def prepare(
    connection: "asyncpg.Connection",
    market: Mapping[str, Series],
    runs: Sequence[Run],
    sessions: Sequence[Session],
    counts: Sequence[int],
) -> None:
    """Bring prices, runs and what each run may play to the server, for the time of the transaction."""
    await connection.execute(_PREPARE)
    playable = [hands(run, market, money(run.book.balance), risk=_RISK) for run in runs]
    firsts = accumulate(counts, initial=1)
    await connection.copy_records_to_table(
        "demo_bars",
        records=(
            (symbol, bar, time, price, following - price)
            for symbol, series in market.items()
            for bar, (time, price, following) in enumerate(
                zip(series.times, series.prices, [*series.prices[1:], series.prices[-1]], strict=True)
            )
        ),
    )
    await connection.copy_records_to_table(
        "demo_runs",
        records=[
            (
                number,
                session.account_id,
                session.id,
                session.initial_balance,
                run.running,
                first,
                count,
                len(held),
            )
            for number, (run, session, first, count, held) in enumerate(
                zip(runs, sessions, firsts, counts, playable, strict=False)
            )
        ],
    )
    await connection.copy_records_to_table(
        "demo_hands",
        records=(
            (
                number,
                slot,
                hand.play.instrument.symbol,
                hand.play.strategy_id,
                hand.bars[0],
                hand.bars[-1],
                hand.play.hold,
                hand.play.edge,
                hand.size,
                run.book.largest,
                hand.play.instrument.contract,
                hand.play.instrument.tick,
            )
            for number, (run, held) in enumerate(zip(runs, playable, strict=True))
            for slot, hand in enumerate(held)
        ),
    )
    await connection.execute("ANALYZE demo_bars; ANALYZE demo_runs; ANALYZE demo_hands")


async def make_trades(
    connection: "asyncpg.Connection", counts: Sequence[int], salt: int, progress: Progress
) -> None:
    """Insert the trades of the prepared runs, `counts` each. Another `salt` (62 bits) makes other trades."""
    whole = sum(counts)
    progress("trades", 0, whole)
    for first, last, made in _chunks(counts):
        await connection.execute(_MAKE_TRADES, first, last, BAR, salt)
        progress("trades", made, whole)


async def add_up(connection: "asyncpg.Connection") -> None:
    """Make the totals of the prepared runs' sessions agree with their trades."""
    await connection.execute(_ADD_UP)


def _chunks(counts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """First run, last run and trades so far of each statement."""
    first, begun = 0, 0
    for number, made in enumerate(accumulate(counts)):
        if made - begun >= _CHUNK or number == len(counts) - 1:
            yield first, number, made
            first, begun = number + 1, made
