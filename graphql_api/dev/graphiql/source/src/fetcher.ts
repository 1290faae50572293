import type { Fetcher, FetcherParams, Observable } from "@graphiql/toolkit";
import { type ExecutionResult, Kind, type OperationDefinitionNode, parse } from "graphql";
import { createClient, type Sink } from "graphql-ws";

import { endpoint } from "./config.ts";
import { useEvents } from "./events.ts";
import { type Headers, post, read } from "./http.ts";
import { authorization, renew } from "./session.ts";

/** Queries and mutations over HTTP, subscriptions over graphql-transport-ws, as whoever is signed in. */
export const fetcher: Fetcher = (request, options) => {
  const headers: Headers = options?.headers ?? {};
  const operation = choose(request);
  useEvents.getState().clear();
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
  const own = await credentials(headers);
  let response = await post(request, { ...own, ...headers });
  if (response.status === 401 && own.authorization) {
    // Our token, and it ended before its time: revoked, or signed by a key that is no more.
    await renew();
    response = await post(request, { ...(await credentials(headers)), ...headers });
  }
  return read(response);
}

// An observable, since it can be stopped at any time; an async generator only between two events.
function subscribe(request: FetcherParams, headers: Headers): Observable<ExecutionResult> {
  return {
    subscribe({ next, error, complete }: Sink<ExecutionResult>) {
      const client = createClient({
        url: Object.assign(new URL(endpoint), { protocol: endpoint.protocol.replace("http", "ws") }).href,
        connectionParams: async () => ({ ...(await credentials(headers)), ...headers }),
        // A feed taken up again could have a gap that nobody sees. Running it again is one key away.
        retryAttempts: 0,
      });
      const unsubscribe = client.subscribe(request as Parameters<typeof client.subscribe>[0], {
        next(result) {
          useEvents.getState().add(result);
          next(result as ExecutionResult);
        },
        error: (reason) => error(explain(reason)),
        complete,
      });
      return { unsubscribe };
    },
  } as Observable<ExecutionResult>; // whose type also allows three functions, which GraphiQL never passes
}

/** Our Authorization, unless the header editor has one of its own. */
async function credentials(headers: Headers): Promise<Headers> {
  const named = Object.keys(headers).some((name) => name.toLowerCase() === "authorization");
  return named ? {} : authorization();
}

function explain(reason: unknown): unknown {
  if (reason instanceof CloseEvent) {
    return new Error(`The connection closed: ${reason.code} ${reason.reason}`.trimEnd());
  }
  return reason instanceof Event ? new Error("The connection failed.") : reason;
}
