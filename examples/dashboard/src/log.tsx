import { useSubscription } from "@apollo/client/react";
import { useState } from "react";

import { graphql } from "./gql";

const LOG = graphql(`
  subscription Log($after: String, $backfill: Int!) {
    systemLogAdded(after: $after, backfill: $backfill, filter: { minLevel: INFO }) {
      cursor
      log { id timestamp level component message }
    }
  }
`);

const KEPT = 100;

interface Line {
  id: string;
  timestamp?: string | null;
  level: string;
  component: string;
  message: string;
}

/** The platform's log as it is written, for operators: the latest line first. */
export default function Log() {
  const [lines, setLines] = useState<Line[]>([]);
  const { error } = useSubscription(LOG, {
    variables: { backfill: 20 },
    ignoreResults: true,
    onData: ({ data: { data } }) => {
      const log = data?.systemLogAdded.log;
      if (log) {
        setLines((before) => [log, ...before].slice(0, KEPT));
      }
    },
  });
  return (
    <section className="card" aria-label="Log">
      <h2>Log</h2>
      {error && <p role="alert">{error.message}</p>}
      <ol>
        {lines.map((line) => (
          <li key={line.id}>
            <time>{line.timestamp?.slice(11, 19)}</time> <b data-level={line.level}>{line.level}</b> {line.component}: {line.message}
          </li>
        ))}
      </ol>
    </section>
  );
}
