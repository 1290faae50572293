// What both programs need of the service: a query, a subscription over one connection, and a sign-in.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

/** Why the service gave no answer, by the code of its first error; UNREACHABLE where it wasn't reached. */
export class ServiceError extends Error {
  constructor(readonly code: string, message: string) {
    super(message);
  }
}

// Errors that pass: ask again after a pause, or subscribe again with the last cursor.
const TEMPORARY = new Set([
  'FEED_UNAVAILABLE',
  'RATE_LIMITED',
  'SERVICE_UNAVAILABLE',
  'TIMEOUT',
  'UNAUTHENTICATED',
  'UNREACHABLE',
]);

export const isTemporary = (error: ServiceError): boolean => TEMPORARY.has(error.code);

interface GraphQLErrors {
  errors: readonly { message: string; extensions?: { code?: string } }[];
}

/** Returns the data of a query or mutation. Throws ServiceError. */
export async function ask<Data>(
  url: string,
  token: string | undefined,
  request: { query: string; operationName?: string; variables: object },
): Promise<Data> {
  let answer: { data: Data } | GraphQLErrors;
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/json',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(request),
    });
    answer = (await response.json()) as { data: Data } | GraphQLErrors;
  } catch (error) {
    throw new ServiceError('UNREACHABLE', String(error));
  }
  if ('errors' in answer) throw refusal(answer.errors);
  return answer.data;
}

const LOGIN = `
  mutation Login($email: String!, $password: String!) {
    login(email: $email, password: $password) { accessToken userErrors { code message } }
  }
`;

/** Returns an access token. Throws ServiceError. */
export async function signIn(url: string, email: string, password: string): Promise<string> {
  const { login } = await ask<{
    login: { accessToken: string | null; userErrors: { code: string; message: string }[] };
  }>(url, undefined, { query: LOGIN, variables: { email, password } });
  if (login.accessToken !== null) return login.accessToken;
  const [first] = login.userErrors;
  throw new ServiceError(first?.code ?? 'UNKNOWN', first?.message ?? 'not signed in');
}

export type Arrival<Data> = { data: Data } | { cursor: string };

/**
 * Returns a subscription's events, and the cursors of the progress between them, in the order of their arrival:
 * a cursor counts once every event before it is dealt with. Throws ServiceError when it ends, for whatever reason.
 */
export async function* subscribe<Data>(
  url: string,
  token: string,
  request: { query: string; variables: Record<string, unknown> },
): AsyncGenerator<Arrival<Data>, never> {
  const arrivals: (Arrival<Data> | ServiceError)[] = [];
  let wake = () => {};
  const put = (arrival: Arrival<Data> | ServiceError) => {
    arrivals.push(arrival);
    wake();
  };
  // graphql-ws would reconnect with the first payload, its cursor included: use a client for one connection.
  const client = createClient({
    url: url.replace(/^http/, 'ws'),
    connectionParams: { Authorization: `Bearer ${token}` },
    retryAttempts: 0,
    webSocketImpl: WebSocket,
    on: {
      ping: (received, payload) => {
        if (received && typeof payload?.['cursor'] === 'string') put({ cursor: payload['cursor'] });
      },
    },
  });
  const end = (why: unknown) =>
    put(Array.isArray(why) ? refusal(why) : new ServiceError('UNREACHABLE', 'the connection has ended'));
  try {
    client.subscribe<Data>(request, {
      next: ({ data, errors }) => (errors || !data ? end(errors) : put({ data })),
      error: end,
      complete: () => end(undefined),
    });
    for (;;) {
      const arrival = arrivals.shift();
      if (arrival instanceof ServiceError) throw arrival;
      if (arrival) yield arrival;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    await client.dispose();
  }
}

function refusal([first]: GraphQLErrors['errors']): ServiceError {
  return new ServiceError(first?.extensions?.code ?? 'UNKNOWN', first?.message ?? 'refused');
}

/** Runs a program. What the service refuses for good is printed as one sentence, and ends it with status 1. */
export async function run(program: () => Promise<void>): Promise<void> {
  try {
    await program();
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}

/** Returns the arguments of the command line. Ends the program with its usage if there are too few, or too many. */
export function parseArguments(usage: string, least: number, most: number): string[] {
  const given = process.argv.slice(2);
  if (given.length >= least && given.length <= most) return given;
  console.error(`usage: ${usage}`);
  process.exit(1);
}

/** Pauses between attempts: from 0.1 s up to 10 s, doubled each time, and never all clients at once. */
export class Pauses {
  private next = 100;

  reset(): void {
    this.next = 100;
  }

  async wait(): Promise<void> {
    const pause = this.next * (0.5 + Math.random());
    this.next = Math.min(this.next * 2, 10_000);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
