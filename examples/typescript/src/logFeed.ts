// Follow the log without a gap or a repeat, whatever happens to the connection.
import { isTemporary, Pauses, ServiceError, subscribe } from './service.js';

export interface LogEvent {
  cursor: string;
  replayed: boolean;
  log: {
    id: string;
    timestamp: string | null;
    level: string;
    component: string;
    message: string;
    details: unknown;
  };
}

export interface FollowOptions {
  url: string;
  /** Returns an access token; called for each connection. */
  signIn: () => Promise<string>;
  filter?: Record<string, unknown> | null;
  /** The cursor of the last event that was dealt with. */
  after?: string | undefined;
  backfill?: number;
  /** Called once, when the service listens: every matching line that is written afterwards arrives. */
  onReady?: () => void;
  /** Called with a cursor then, and from time to time while no line matches: store it as you store a line's. */
  onProgress?: (cursor: string) => void;
}

const FOLLOW = `
  subscription Follow($filter: SystemLogFilter, $after: String, $backfill: Int!) {
    systemLogAdded(filter: $filter, after: $after, backfill: $backfill) {
      cursor
      replayed
      log { id timestamp level component message details }
    }
  }
`;

/** Returns the events of systemLogAdded. Throws ServiceError where the feed can't continue without a gap. */
export async function* followLog(options: FollowOptions): AsyncGenerator<LogEvent, never> {
  const pauses = new Pauses();
  let after = options.after;
  let ready = false;
  for (;;) {
    try {
      const variables = {
        filter: options.filter ?? null,
        after: after ?? null,
        backfill: after ? 0 : (options.backfill ?? 0),
      };
      const token = await options.signIn();
      const arrivals = subscribe<{ systemLogAdded: LogEvent }>(options.url, token, { query: FOLLOW, variables });
      for await (const arrival of arrivals) {
        pauses.reset();
        if ('data' in arrival) {
          yield arrival.data.systemLogAdded;
          after = arrival.data.systemLogAdded.cursor;
        } else {
          if (!ready) options.onReady?.();
          ready = true;
          options.onProgress?.(arrival.cursor);
          after = arrival.cursor;
        }
      }
    } catch (error) {
      // The log that a viewer may read has changed, not what it has read: its cursor is good.
      const goesOn = error instanceof ServiceError && (isTemporary(error) || error.code === 'PERMISSIONS_CHANGED');
      if (!goesOn) throw error;
    }
    await pauses.wait();
  }
}
