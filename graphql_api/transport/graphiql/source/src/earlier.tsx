import { Button, useEditorContext } from "@graphiql/react";
import { useEffect, useState } from "react";

import { type SourceEvent, useEvents } from "./events.ts";

/** Below the response of a subscription: the events before it, which stand still while somebody reads them. */
export function EarlierEvents() {
  const { events, held, waiting, clear, hold, release } = useEvents();
  const [words, setWords] = useState("");
  const { activeTabIndex } = useEditorContext({ nonNull: true });
  useEffect(clear, [activeTabIndex]); // a subscription ends when its tab is left
  const [latest, ...earlier] = held ?? events;
  if (!latest) {
    return waiting ? <p className="earlier-events">{waiting}</p> : null;
  }
  const unseen = (events[0]?.number ?? latest.number) - latest.number;
  const shown = earlier.filter(({ result }) => contains(result, words));
  return (
    <section className="earlier-events" aria-label="Earlier events">
      <header>
        <h2>
          Event {latest.number}, {time(latest.at)}. Earlier:
        </h2>
        <input
          type="search"
          aria-label="Show only events with"
          placeholder="Only with …"
          value={words}
          onChange={(event) => setWords(event.target.value)}
        />
        <Button type="button" aria-pressed={held !== null} onClick={held ? release : hold}>
          {held ? `Go on${unseen > 0 ? ` (${unseen} new)` : ""}` : "Pause"}
        </Button>
        <Button type="button" onClick={clear}>
          Clear
        </Button>
      </header>
      <p role="status">{waiting}</p>
      <ol tabIndex={0} aria-label="Events" onScroll={(event) => event.currentTarget.scrollTop > 0 && hold()}>
        {shown.map((event) => (
          <Line key={event.number} event={event} onRead={hold} />
        ))}
      </ol>
    </section>
  );
}

function Line({ event: { at, result }, onRead }: { event: SourceEvent; onRead: () => void }) {
  return (
    <li>
      <details onToggle={(event) => event.currentTarget.open && onRead()}>
        <summary>
          <time>{time(at)}</time> <code>{summarise(result)}</code>
        </summary>
        <pre>{JSON.stringify(result, null, 2)}</pre>
      </details>
    </li>
  );
}

function time(at: Date): string {
  return at.toLocaleTimeString("en-GB");
}

/** Whether every word occurs in what a result says, in any case. */
function contains(result: unknown, words: string): boolean {
  const said = leaves(result).join("\n").toLowerCase();
  return words
    .toLowerCase()
    .split(/\s+/)
    .every((word) => said.includes(word));
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
