import type { OperationVariables, TypedDocumentNode } from "@apollo/client";
import { useApolloClient, useQuery, useSubscription } from "@apollo/client/react";
import { useEffect, useState } from "react";

import { graphql } from "./gql";
import type { ActivityKind } from "./gql/graphql";

const ACTIVITY = graphql(`
  subscription Activity($ids: [ID!], $kinds: [ActivityKind!]!, $after: String) {
    accountActivity(accountIds: $ids, kinds: $kinds, after: $after) { kind cursor }
  }
`);

// In milliseconds.
const GATHERING = 300; // events may come by the hundred: what they change is read once for all of them
const FIRST_PAUSE = 1000; // before a reading that has failed is tried again; twice as long each time
const LONGEST_PAUSE = 30_000;
const TIMEOUT = 30_000; // after which a reading has failed
const RESUMING = 2000;

/** Reads an answer of the service, and returns the function that puts it into the cache. */
type Read = () => Promise<() => void>;

/** Reads whenever that is due, one reading at a time, so that no older answer comes after a newer one. */
export class Reading {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isRunning = false;
  private isDue = false;
  private isOutdated = false;
  private hasEnded = true;
  private pause = FIRST_PAUSE;
  private waiting: (() => void)[] = [];

  constructor(
    private readonly read: Read,
    private readonly onError: (error: Error | undefined) => void,
  ) {}

  begin(): void {
    this.hasEnded = false;
    this.request(0);
  }

  end(): void {
    this.hasEnded = true;
    clearTimeout(this.timer);
    this.timer = undefined;
  }

  /** Reads soon, or once the reading under way has ended. */
  request(delay = GATHERING): void {
    this.isDue = true;
    if (!this.isRunning && !this.hasEnded) {
      this.timer ??= setTimeout(() => void this.run(), delay);
    }
  }

  /** Reads again, and drops what is being read: it may be older than a change. Resolves once that is done. */
  restart(): Promise<void> {
    this.isOutdated = true;
    this.request(0);
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  private async run(): Promise<void> {
    this.timer = undefined;
    this.isDue = this.isOutdated = false;
    this.isRunning = true;
    let delay = GATHERING;
    try {
      const keep = await this.read();
      if (!this.isOutdated) {
        keep();
        this.waiting.splice(0).forEach((resolve) => resolve());
      }
      this.onError(undefined);
      this.pause = FIRST_PAUSE;
    } catch (error) {
      this.onError(error as Error);
      this.isDue = true;
      delay = this.pause;
      this.pause = Math.min(2 * this.pause, LONGEST_PAUSE);
    }
    this.isRunning = false;
    if (this.isDue) {
      this.request(delay);
    }
  }
}

/**
 * Returns the answer to a query, from the cache at first, and read again after whatever happens on the accounts
 * with these ids (by default all of the viewer's). `error` is why the last reading failed.
 */
export function useLive<Data extends { activityCursor: string }, Variables extends OperationVariables>(
  query: TypedDocumentNode<Data, Variables>,
  variables: Variables,
  followed: { kinds: ActivityKind[]; ids?: string[] },
): { data: Data | undefined; error: Error | undefined; reading: Reading } {
  const client = useApolloClient();
  const { data } = useQuery<Data, OperationVariables>(query, { variables, fetchPolicy: "cache-only" });
  const [after, setAfter] = useState<string>();
  const [error, setError] = useState<Error>();
  const [reading] = useState(
    () =>
      new Reading(async () => {
        const fetchOptions = { signal: AbortSignal.timeout(TIMEOUT) };
        const options = { fetchPolicy: "no-cache", context: { queryDeduplication: false, fetchOptions } } as const;
        const { data: read } = await client.query<Data, OperationVariables>({ query, variables, ...options });
        return () => {
          client.writeQuery<Data, OperationVariables>({ query, variables, data: read as Data });
          // What happens from here on isn't in what has been read.
          setAfter((known) => known ?? (read as Data).activityCursor);
        };
      }, setError),
  );
  useEffect(() => {
    reading.begin();
    return () => reading.end();
  }, [reading]);
  useSubscription(ACTIVITY, {
    variables: { ...followed, after },
    skip: after === undefined,
    ignoreResults: true,
    onData: () => reading.request(),
    onError() {
      setAfter(undefined); // the cursor may be too old: goes on after that of the next reading
      reading.request(RESUMING);
    },
  });
  return { data: data as Data | undefined, error, reading };
}
