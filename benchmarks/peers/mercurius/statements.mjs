export const ACCOUNT = `id, user_id, account_number AS "accountNumber", server, is_active AS "isActive",
  last_sync AS "lastSync"`;
export const SESSION = `id, account_id AS "accountId", started_at AS "startedAt", ended_at AS "endedAt", pnl`;
export const TRADE = `id, session_id AS "sessionId", strategy_id AS "strategyId", symbol, direction,
  entry_price AS "entryPrice", exit_price AS "exitPrice", size, entry_time AS "entryTime",
  exit_time AS "exitTime", pnl, status, ai_confidence AS "aiConfidence"`;
export const STRATEGY = "id, name";
export const PERFORMANCE = `id, strategy_id, timestamp, win_rate AS "winRate", profit_factor AS "profitFactor",
  sharpe_ratio AS "sharpeRatio", trades_count AS "tradesCount", period_start AS "periodStart",
  period_end AS "periodEnd"`;
export const RISK = `id, max_daily_loss AS "maxDailyLoss", max_position_size AS "maxPositionSize",
  max_open_positions AS "maxOpenPositions", risk_per_trade AS "riskPerTrade"`;

// The first rows of many parents in one statement.
export function children(columns, table, parent, order) {
  return `SELECT parent.id AS "parentId", child.*
    FROM unnest($1::uuid[]) AS parent (id)
    CROSS JOIN LATERAL (
      SELECT ${columns} FROM ${table} WHERE ${parent} = parent.id ORDER BY ${order} LIMIT $2
    ) AS child`;
}

export function byId(columns, table) {
  return `SELECT ${columns} FROM ${table} WHERE id = ANY ($1::uuid[])`;
}
