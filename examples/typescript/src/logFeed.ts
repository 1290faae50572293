// Follow the log without a gap or a repeat, whatever happens to the connection.
import { createClient } from 'graphql-ws';

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
  filter?: Record<string, unknown>;
  /** The cursor of the last event that was dealt with. */
  after?: string;
  backfill?: number;
  /** Called once, when the service listens: every matching line that is written afterwards arrives. */
  onReady?: () => void;
  /** Called with a cursor then, and from time to time while no line matches: store it as you store a line's. */
  onProgress?: (cursor: string) => void;
  webSocketImpl?: unknown;
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

// Errors that pass: subscribe again, with the last cursor.
const TEMPORARY = new Set(['FEED_UNAVAILABLE', 'PERMISSIONS_CHANGED', 'SERVICE_UNAVAILABLE', 'UNAUTHENTICATED']);

/** The feed can't continue without a gap; `code` says why. */
export class FeedEnded extends Error {
  constructor(readonly code: string, message: string) {
    super(message);
  }
}

/** Returns the events of systemLogAdded. Throws FeedEnded where the feed can't continue without a gap. */
export async function* followLog(options: FollowOptions): AsyncGenerator<LogEvent> {
  let after = options.after;
  let pause = 100;
  let ready = false;
  for (;;) {
    const inbox = new Inbox();
    // graphql-ws would reconnect with the first payload, its cursor included: use a client for one connection.
    const client = createClient({
      url: options.url.replace(/^http/, 'ws'),
      connectionParams: async () => ({ Authorization: `Bearer ${await options.signIn()}` }),
      retryAttempts: 0,
      webSocketImpl: options.webSocketImpl,
      on: {
        ping: (received, payload) => {
          if (received && payload?.cursor) inbox.put({ cursor: payload.cursor as string });
        },
      },
    });
    try {
      const variables = {
        filter: options.filter ?? null,
        after: after ?? null,
        backfill: after ? 0 : (options.backfill ?? 0),
      };
      client.subscribe<{ systemLogAdded: LogEvent }>(
        { query: FOLLOW, variables },
        {
          next: ({ data, errors }) =>
            inbox.put(data ? { event: data.systemLogAdded } : { end: errors }),
          error: (end) => inbox.put({ end }),
          complete: () => inbox.put({ end: undefined }),
        },
      );
      for (;;) {
        const arrival = await inbox.take();
        if ('end' in arrival) throw arrival.end;
        if ('event' in arrival) {
          yield arrival.event;
          after = arrival.event.cursor;
          pause = 100;
        } else {
          if (!ready) {
            ready = true;
            options.onReady?.();
          }
          options.onProgress?.(arrival.cursor);
          after = arrival.cursor;
        }
      }
    } catch (thrown) {
      const ended = endOf(thrown);
      if (ended) throw ended;
    } finally {
      await client.dispose();
    }
    await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random())));
    pause = Math.min(pause * 2, 10_000);
  }
}

type Arrival = { event: LogEvent } | { cursor: string } | { end: unknown };

/** Messages in the order of their arrival: a cursor counts once every event before it is dealt with. */
class Inbox {
  private readonly arrivals: Arrival[] = [];
  private wake = () => {};

  put(arrival: Arrival): void {
    this.arrivals.push(arrival);
    this.wake();
  }

  async take(): Promise<Arrival> {
    for (;;) {
      const arrival = this.arrivals.shift();
      if (arrival) return arrival;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }
}

/** The error that ended the feed; undefined for a broken connection and for errors that pass. */
function endOf(thrown: unknown): FeedEnded | undefined {
  if (!Array.isArray(thrown)) return undefined;
  const [first] = thrown as { message: string; extensions?: { code?: string } }[];
  const code = first?.extensions?.code ?? 'UNKNOWN';
  return TEMPORARY.has(code) ? undefined : new FeedEnded(code, first?.message ?? 'the feed ended');
}
