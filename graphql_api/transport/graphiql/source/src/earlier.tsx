import { useEditorContext } from "@graphiql/react";
import { useEffect } from "react";

import { useEvents } from "./events.ts";

/** Below the response of a subscription: the events before it. */
export function EarlierEvents() {
  const { events, clear } = useEvents();
  const { activeTabIndex } = useEditorContext({ nonNull: true });
  useEffect(clear, [activeTabIndex]); // a subscription ends when its tab is left
  const [latest, ...earlier] = events;
  if (!latest || earlier.length === 0) {
    return null;
  }
  return (
    <section className="earlier-events" aria-label="Earlier events">
      <h2>
        Event {latest.number}, {time(latest.at)}. Earlier:
      </h2>
      <ol>
        {earlier.map(({ number, at, result }) => (
          <li key={number}>
            <details>
              <summary>
                <time>{time(at)}</time> <code>{summarise(result)}</code>
              </summary>
              <pre>{JSON.stringify(result, null, 2)}</pre>
            </details>
          </li>
        ))}
      </ol>
    </section>
  );
}

function time(at: Date): string {
  return at.toLocaleTimeString("en-GB");
}

/** One line for a result: the values in it that say something to a reader. */
function summarise(result: unknown): string {
  return leaves(result).filter(speaks).join(" · ");
}

/** Not flags, not times (one stands before the line), not ids and cursors. */
function speaks(value: unknown): boolean {
  if (typeof value === "string") {
    return !/^\d{4}-\d\d-\d\dT/.test(value) && (value.length < 32 || value.includes(" "));
  }
  return typeof value === "number";
}

function leaves(value: unknown): unknown[] {
  return value !== null && typeof value === "object" ? Object.values(value).flatMap(leaves) : [value];
}
