// Times are read as text, since a Date has no microseconds.
const time = (column, name) => `replace((${column} AT TIME ZONE 'UTC')::text, ' ', 'T') || '+00:00' AS "${name}"`;

export const USER = `SELECT id, email, ${time("created_at", "createdAt")} FROM users WHERE id = $1::text::uuid`;
export const ACCOUNT = `id, account_number AS "accountNumber", server, is_active AS "isActive",
  ${time("last_sync", "lastSync")}`;
export const SESSION = `id, account_id AS "accountId", ${time("started_at", "startedAt")},
  ${time("ended_at", "endedAt")}, pnl`;
export const TRADE = `id, session_id AS "sessionId", strategy_id AS "strategyId", symbol, direction,
  entry_price AS "entryPrice", exit_price AS "exitPrice", size, ${time("entry_time", "entryTime")},
  ${time("exit_time", "exitTime")}, pnl, status, ai_confidence AS "aiConfidence"`;
export const STRATEGIES = "SELECT id, name FROM ai_strategies ORDER BY name, id LIMIT $1";
export const PERFORMANCE = `id, ${time('"timestamp"', "timestamp")}, win_rate AS "winRate",
  profit_factor AS "profitFactor", sharpe_ratio AS "sharpeRatio", trades_count AS "tradesCount",
  ${time("period_start", "periodStart")}, ${time("period_end", "periodEnd")}`;
const RISK = `id, max_daily_loss AS "maxDailyLoss", max_position_size AS "maxPositionSize",
  max_open_positions AS "maxOpenPositions", risk_per_trade AS "riskPerTrade"`;

export const LOCK = "SELECT id FROM tradelocker_accounts WHERE id = $1::text::uuid FOR NO KEY UPDATE";
export const CURRENT = `SELECT ${RISK} FROM risk_settings WHERE account_id = $1::text::uuid
  ORDER BY coalesce(updated_at, '-infinity') DESC, id DESC LIMIT 1 FOR UPDATE`;
export const CHANGE = `UPDATE risk_settings SET max_daily_loss = $2::text::numeric,
  max_position_size = $3::text::numeric, max_open_positions = $4, risk_per_trade = $5::text::numeric,
  updated_at = greatest(clock_timestamp(), updated_at) WHERE id = $1::text::uuid RETURNING ${RISK}`;
export const AUDIT = `INSERT INTO system_logs (level, component, message, details)
  VALUES ('INFO', 'risk', $1, $2::text::jsonb)`;

// The first rows of many parents in one statement.
export const children = (columns, table, parent, order) => `
  SELECT parent.id AS "parentId", child.*
  FROM unnest($1::text::uuid[]) AS parent (id)
  CROSS JOIN LATERAL (
    SELECT ${columns} FROM ${table} WHERE ${parent} = parent.id ORDER BY ${order} LIMIT $2
  ) AS child`;

export const byId = (columns, table) => `SELECT ${columns} FROM ${table} WHERE id = ANY ($1::text::uuid[])`;
