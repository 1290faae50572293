// Keep a live table of running sessions and open trades, whatever happens to the connection.
import { ask, isTemporary, Pauses, ServiceError, subscribe } from './service.js';

/** A running session: its equity, as far as the bot has stored it, and its open trades. */
export interface Line {
  session: string;
  account: string | null;
  equity: string;
  open: string[];
}

interface SessionRow {
  id: string;
  endedAt: string | null;
  initialBalance: string | null;
  account: { accountNumber: string } | null;
}

interface TradeRow {
  id: string;
  symbol: string;
  direction: string;
  size: string;
  pnl: string | null;
  status: string;
  session: { id: string } | null;
}

interface Page<Row> {
  nodes: Row[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

interface Snapshot {
  activityCursor: string;
  sessions: Page<SessionRow & { trades: Page<TradeRow> }>;
}

interface MoreTrades {
  session: { trades: Page<TradeRow> } | null;
}

type ActivityEvent = { cursor: string; change: 'ADDED' | 'CHANGED' | 'REMOVED' | null } & (
  | { kind: 'SESSION'; rowId: string; node: SessionRow | null }
  | { kind: 'TRADE'; rowId: string; node: TradeRow | null }
  | { kind: 'UP_TO_DATE' }
);

const SESSION = 'id endedAt initialBalance account { accountNumber }';
const TRADE = 'id symbol direction size pnl status session { id }';
const QUERY = `
  query Snapshot($after: String) {
    activityCursor
    sessions(first: 20, after: $after, filter: { isRunning: true }) {
      nodes { ${SESSION} trades(first: 100) { nodes { ${TRADE} } pageInfo { hasNextPage endCursor } } }
      pageInfo { hasNextPage endCursor }
    }
  }
  query MoreTrades($session: ID!, $after: String) {
    activityCursor
    session(id: $session) {
      trades(first: 100, after: $after) { nodes { ${TRADE} } pageInfo { hasNextPage endCursor } }
    }
  }
`;
const FOLLOW = `
  subscription Follow($after: String!) {
    accountActivity(kinds: [SESSION, TRADE], after: $after) {
      cursor
      kind
      change
      rowId
      node { ... on Session { ${SESSION} } ... on Trade { ${TRADE} } }
    }
  }
`;

// After these errors the cursor is worth nothing, or what the viewer may see has changed: query again.
const RESETS = new Set([
  'CURSOR_EXPIRED',
  'FEED_RESET_FAILOVER',
  'FEED_RESET_RESTORE',
  'INVALID_CURSOR',
  'PERMISSIONS_CHANGED',
]);

const REPORT_EVERY = 1000; // trades

/** Running sessions and their trades, as the database holds them at `cursor`; empty without a cursor. */
class Copy {
  cursor: string | undefined;
  private sessions = new Map<string, SessionRow>();
  private trades = new Map<string, TradeRow>();
  private reported = 0;

  /** `onTrades` is called with the number of trades that have been read, every thousand or so. */
  constructor(private readonly onTrades: (trades: number) => void) {}

  /** Queries everything. The first cursor counts: no later than anything that was read. */
  async read(url: string, token: string): Promise<void> {
    this.sessions.clear();
    this.trades.clear();
    this.reported = 0;
    let cursor: string | undefined;
    let after: string | null = null;
    do {
      const request = { query: QUERY, operationName: 'Snapshot', variables: { after } };
      const data: Snapshot = await ask<Snapshot>(url, token, request);
      cursor ??= data.activityCursor;
      for (const { trades, ...session } of data.sessions.nodes) {
        this.sessions.set(session.id, session);
        await this.readTrades(url, token, session.id, trades);
      }
      after = data.sessions.pageInfo.hasNextPage ? data.sessions.pageInfo.endCursor : null;
    } while (after !== null);
    this.cursor = cursor;
  }

  private async readTrades(url: string, token: string, session: string, first: Page<TradeRow>): Promise<void> {
    let page: Page<TradeRow> | undefined = first;
    while (page) {
      for (const trade of page.nodes) this.trades.set(trade.id, trade);
      if (this.trades.size - this.reported >= REPORT_EVERY) {
        this.reported = this.trades.size;
        this.onTrades(this.reported);
      }
      if (!page.pageInfo.hasNextPage) return;
      const variables = { session, after: page.pageInfo.endCursor };
      const request = { query: QUERY, operationName: 'MoreTrades', variables };
      const data: MoreTrades = await ask<MoreTrades>(url, token, request);
      page = data.session?.trades; // without a session: its removal is among the events
    }
  }

  /** Puts the row of an event in the place of the one with its id, or takes that away. */
  apply(event: ActivityEvent): void {
    this.cursor = event.cursor;
    if (event.kind === 'TRADE') {
      if (event.node) this.trades.set(event.rowId, event.node);
      else this.trades.delete(event.rowId);
    } else if (event.kind === 'SESSION') {
      if (!event.node || event.node.endedAt !== null) this.drop(event.rowId);
      else if (event.change === 'CHANGED' && !this.sessions.has(event.rowId)) {
        this.cursor = undefined; // it runs again after its end, and its trades were not kept
      } else this.sessions.set(event.rowId, event.node);
    }
  }

  private drop(session: string): void {
    this.sessions.delete(session);
    for (const trade of this.trades.values()) {
      if (trade.session?.id === session) this.trades.delete(trade.id);
    }
  }

  table(): Line[] {
    const lines = [...this.sessions.values()].map((session) => {
      const trades = [...this.trades.values()].filter((trade) => trade.session?.id === session.id);
      const equity = trades.reduce((sum, trade) => sum + units(trade.pnl), units(session.initialBalance));
      return {
        session: session.id,
        account: session.account?.accountNumber ?? null,
        equity: decimal(equity),
        open: trades
          .filter((trade) => trade.status === 'OPEN')
          .map((trade) => `${trade.direction} ${trade.size} ${trade.symbol}`)
          .sort(),
      };
    });
    return lines.sort((one, other) => (order(one) < order(other) ? -1 : 1));
  }
}

const order = (line: Line): string => `${line.account ?? ''} ${line.session}`;

/**
 * Returns the table after each event once it is up to date, and the cursor up to which it is true. Throws
 * ServiceError for errors that stay.
 */
export async function* keepTable(options: {
  url: string;
  /** Returns an access token; called for each connection. */
  signIn: () => Promise<string>;
  /** Called with the number of trades that a long reading has come to, every thousand or so. */
  onTrades?: (trades: number) => void;
}): AsyncGenerator<{ cursor: string; table: Line[] }, never> {
  const copy = new Copy(options.onTrades ?? (() => {}));
  const pauses = new Pauses();
  for (;;) {
    try {
      const token = await options.signIn();
      if (copy.cursor === undefined) await copy.read(options.url, token);
      const request = { query: FOLLOW, variables: { after: copy.cursor } };
      let isUpToDate = false;
      for await (const arrival of subscribe<{ accountActivity: ActivityEvent }>(options.url, token, request)) {
        if ('data' in arrival) {
          copy.apply(arrival.data.accountActivity);
          isUpToDate ||= arrival.data.accountActivity.kind === 'UP_TO_DATE';
        } else copy.cursor = arrival.cursor;
        if (copy.cursor === undefined) break;
        if (isUpToDate) yield { cursor: copy.cursor, table: copy.table() };
        pauses.reset();
      }
    } catch (error) {
      if (!(error instanceof ServiceError)) throw error;
      if (RESETS.has(error.code)) copy.cursor = undefined;
      else if (!isTemporary(error)) throw error;
    }
    await pauses.wait();
  }
}

/** Returns a stored decimal in units of its last digit, the eighth: an amount is never a float. null and NaN count 0. */
function units(text: string | null): bigint {
  const [, sign, whole, fraction = ''] = /^(-?)(\d+)(?:\.(\d{1,8}))?$/.exec(text ?? '') ?? [];
  return whole === undefined ? 0n : BigInt(`${sign}${whole}${fraction.padEnd(8, '0')}`);
}

/** Returns the text of a number of such units, without zeros at its end. */
function decimal(amount: bigint): string {
  const digits = (amount < 0n ? -amount : amount).toString().padStart(9, '0');
  const text = `${digits.slice(0, -8)}.${digits.slice(-8)}`.replace(/\.?0+$/, '');
  return amount < 0n ? `-${text}` : text;
}
