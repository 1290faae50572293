import type { Fetcher, FetcherParams, Observable } from "@graphiql/toolkit";
import { type ExecutionResult, Kind, type OperationDefinitionNode, parse } from "graphql";
import { createClient, type Sink } from "graphql-ws";

import { clearAnswer, useAnswer } from "./answer.tsx";
import { endpoint } from "./config.ts";
import { KEPT, useEvents } from "./events.ts";
import { type Headers, post, read } from "./http.ts";
import { Place } from "./resume.ts";
import { authorization, renew, useSession } from "./session.ts";

/** Queries and mutations over HTTP, subscriptions over graphql-transport-ws, as whoever is signed in. */
export const fetcher: Fetcher = (request, options) => {
  const headers: Headers = options?.headers ?? {};
  const operation = choose(request);
  useEvents.getState().clear();
  clearAnswer();
  return operation?.operation === "subscription"
    ? subscribe({ ...request, operationName: operation.name?.value }, headers)
    : execute({ ...request, operationName: operation?.name?.value }, headers);
};

/**
 * The operation to run; none if the server is to say what is wrong. GraphiQL tells one too, but for a moment
 * after a change of tabs it is the other tab's.
 */
function choose({ query, operationName }: FetcherParams): OperationDefinitionNode | undefined {
  try {
    const operations = parse(query).definitions.filter((each) => each.kind === Kind.OPERATION_DEFINITION);
    return operations.length === 1 ? operations[0] : operations.find((each) => each.name?.value === operationName);
  } catch {
    return undefined;
  }
}

async function execute(request: FetcherParams, headers: Headers) {
  try {
    const own = await credentials(headers);
    let began = performance.now();
    let response = await post(request, { ...own, ...headers });
    if (response.status === 401 && own.authorization) {
      // Our token, and it ended before its time: revoked, or signed by a key that is no more.
      await renew();
      const renewed = await credentials(headers);
      began = performance.now();
      response = await post(request, { ...renewed, ...headers });
    }
    const { size: bytes } = await response.clone().blob();
    const milliseconds = performance.now() - began;
    const result = await read(response);
    if (request.operationName !== "IntrospectionQuery") {
      useAnswer.setState({ milliseconds, bytes });
    }
    return result;
  } catch (reason) {
    throw explain(reason);
  }
}

// An observable, since it can be stopped at any time; an async generator only between two events.
function subscribe(request: FetcherParams, headers: Headers): Observable<ExecutionResult> {
  return {
    subscribe({ next, error, complete }: Sink<ExecutionResult>) {
      const place = new Place();
      const { add, release } = useEvents.getState();
      let own: Headers = {};
      let ended = false;
      let failing = false;
      let stop = () => {};
      let timer: ReturnType<typeof setTimeout> | undefined;
      let latest: ExecutionResult | undefined;

      const shown = inBatches((results, skipped) => {
        add(results, skipped);
        latest = results.at(-1) as ExecutionResult;
        if (!useEvents.getState().held) {
          next(latest);
        }
      });
      const unwatch = [
        useEvents.subscribe(({ held }, before) => {
          if (before.held && !held && latest) {
            next(latest);
          }
        }),
        useSession.subscribe(({ tokens }, before) => {
          if (before.tokens && !tokens && own.authorization && !failing && !ended) {
            end(() => error({ message: useSession.getState().notice || "Signed out." }));
          }
        }),
      ];

      function end(say: () => void = () => {}) {
        ended = true;
        clearTimeout(timer);
        unwatch.forEach((unsubscribe) => unsubscribe());
        useEvents.setState({ waiting: "" });
        stop();
        say();
      }

      async function fail(reason: unknown) {
        if (ended) {
          return;
        }
        shown.flush();
        if (isForbidden(reason) && own.authorization) {
          failing = true; // and says itself why, if there is no other token
          await renew().catch(() => {}); // that the server can't be asked will show when it is asked next
          failing = false;
        }
        if (!ended && place.isKnown && passes(reason, own)) {
          useEvents.setState({ waiting: "The connection is lost. It is tried again, and nothing will be missed." });
          timer = setTimeout(connect, RECONNECT);
        } else if (!ended) {
          end(() => error(explain(reason)));
        }
      }

      function connect() {
        let socket: WebSocket | undefined;
        const client = createClient({
          url: Object.assign(new URL(endpoint), { protocol: endpoint.protocol.replace("http", "ws") }).href,
          connectionParams: async () => ({ ...(own = await credentials(headers)), ...headers }),
          retryAttempts: 0, // graphql-ws would begin again where it began first
          on: {
            connected: (connected) => {
              socket = connected as WebSocket;
              useEvents.setState({ waiting: "" });
            },
            ping: (received, payload) => {
              if (received && typeof payload?.cursor === "string") {
                shown.flush();
                place.told(payload.cursor);
              }
              if (received && payload?.tokenExpiresAt && own.authorization) {
                void keepSignedIn(socket, headers);
              }
            },
          },
        });
        const document = { ...request, query: place.resume(request.query) };
        const unsubscribe = client.subscribe(document as Parameters<typeof client.subscribe>[0], {
          next(result) {
            place.seen(result);
            shown.add(result);
          },
          error: (reason) => void fail(reason),
          complete() {
            shown.flush();
            end(complete);
          },
        });
        stop = () => {
          unsubscribe();
          void client.dispose();
        };
      }

      release();
      connect();
      return {
        unsubscribe() {
          shown.drop();
          end();
        },
      };
    },
  } as Observable<ExecutionResult>; // whose type also allows three functions, which GraphiQL never passes
}

/** Sends a newer token on an open socket, which the server asks for before the former one ends. */
async function keepSignedIn(socket: WebSocket | undefined, headers: Headers): Promise<void> {
  try {
    await renew();
    const payload = await credentials(headers);
    if (socket?.readyState === WebSocket.OPEN && payload.authorization) {
      socket.send(JSON.stringify({ type: "ping", payload }));
    }
  } catch {
    // It will be asked for again, or the socket closes and says why.
  }
}

/** Milliseconds before a lost connection is tried again. */
const RECONNECT = 1000;

/** Whether the same may go better in a moment: a connection that was lost, a restart, a token that has ended. */
function passes(reason: unknown, own: Headers): boolean {
  if (isForbidden(reason)) {
    return own.authorization !== undefined && useSession.getState().tokens !== null;
  }
  if (reason instanceof CloseEvent) {
    return [1001, 1005, 1006, 1012, 1013, 4408].includes(reason.code);
  }
  return reason instanceof Event || reason instanceof TypeError; // no server answered
}

/** Milliseconds between two updates of the page: each lays out a response anew, and events come by thousands. */
const UPDATES = 50;

/** Collects results, and shows the latest of them together with the number of those before them. */
function inBatches(show: (results: unknown[], skipped: number) => void) {
  let waiting: unknown[] = [];
  let skipped = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function drop() {
    clearTimeout(timer);
    timer = undefined;
    waiting = [];
    skipped = 0;
  }

  function flush() {
    if (waiting.length > 0) {
      show(waiting, skipped);
    }
    drop();
  }

  return {
    flush,
    drop,
    add(result: unknown) {
      waiting.push(result);
      if (waiting.length > KEPT) {
        waiting.shift();
        skipped += 1;
      }
      timer ??= setTimeout(flush, UPDATES);
    },
  };
}

/** Our Authorization, unless the header editor has one of its own. */
async function credentials(headers: Headers): Promise<Headers> {
  const named = Object.keys(headers).some((name) => name.toLowerCase() === "authorization");
  return named ? {} : authorization();
}

/** Whether the server has closed a connection because its token doesn't count any more. */
function isForbidden(reason: unknown): boolean {
  return reason instanceof CloseEvent && reason.code === 4403;
}

/**
 * What GraphiQL is to show of a failure: a GraphQL error of one sentence. It shows an Error with its stack, which
 * here is a list of places in a minified script.
 */
function explain(reason: unknown): unknown {
  return Array.isArray(reason) ? reason : { message: sentence(reason) }; // an array has the server's own errors
}

function sentence(reason: unknown): string {
  if (reason instanceof CloseEvent) {
    const closed = `The server closed the connection: ${reason.code} ${reason.reason}`.trimEnd();
    if (!isForbidden(reason)) {
      return closed;
    }
    return `${closed}. ${useSession.getState().tokens ? "Run the operation again to go on." : "Sign in again."}`;
  }
  if (reason instanceof TypeError) {
    return `The server can't be reached: ${reason.message}`; // what fetch rejects with
  }
  return reason instanceof Error ? reason.message : "The connection failed.";
}
