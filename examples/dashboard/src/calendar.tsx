import { type KeyboardEvent, useRef, useState } from "react";

import { amount } from "./amount.ts";

export const WEEKS = 18;
const DAY = 24 * 60 * 60 * 1000; // milliseconds

/** The browser's time zone, in which its days begin. */
export const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** The first moment that the calendar shows: a Monday. */
export const SINCE = monday(new Date(), WEEKS - 1);

interface Day {
  time: string;
  netPnl: string;
  tradesCount: number;
}

/** A heat map of daily results: a column a week, blue for gains and orange for losses. Arrow keys move in it. */
export function Calendar({ days }: { days: Day[] }) {
  const results = new Map(days.map((day) => [keyOf(new Date(day.time)), day]));
  const most = Math.max(...days.map(({ netPnl }) => Math.abs(Number(netPnl))), 0);
  const today = daysSince(SINCE, new Date());
  const [chosen, choose] = useState(days.length > 0 ? daysSince(SINCE, new Date(days.at(-1)!.time)) : today);
  const table = useRef<HTMLTableElement>(null);

  function move(event: KeyboardEvent) {
    const step = { ArrowLeft: -7, ArrowRight: 7, ArrowUp: -1, ArrowDown: 1, Home: -chosen, End: today - chosen }[event.key];
    if (step === undefined) {
      return;
    }
    event.preventDefault();
    const next = Math.min(Math.max(chosen + step, 0), today);
    choose(next);
    table.current?.querySelector<HTMLElement>(`[data-day="${next}"]`)?.focus();
  }

  function cell(number: number) {
    const date = dateOf(number);
    const day = results.get(keyOf(date));
    const strength = day && most > 0 ? Math.abs(Number(day.netPnl)) / most : 0;
    return (
      <td
        key={number}
        data-day={number}
        data-sign={day && Math.sign(Number(day.netPnl))}
        style={{ "--strength": `${20 + 80 * strength}%` } as object}
        tabIndex={number === chosen ? 0 : -1}
        aria-selected={number === chosen}
        aria-label={inWords(date, day)}
        onFocus={() => choose(number)}
        onClick={() => choose(number)}
      />
    );
  }

  const weekdays = [0, 1, 2, 3, 4, 5, 6];
  const weeks = Array.from({ length: WEEKS }, (_, week) => week);
  return (
    <section className="card" aria-label="Calendar">
      <h2>By day</h2>
      <table ref={table} role="grid" aria-label="Results by day" onKeyDown={move}>
        <tbody>
          {weekdays.map((weekday) => (
            <tr key={weekday}>
              <th scope="row">{dateOf(weekday).toLocaleDateString("en-GB", { weekday: "short" })}</th>
              {weeks.map((week) => {
                const number = week * 7 + weekday;
                return number <= today ? cell(number) : <td key={number} className="to-come" />;
              })}
            </tr>
          ))}
        </tbody>
      </table>
      <p>{inWords(dateOf(chosen), results.get(keyOf(dateOf(chosen))))}</p>
    </section>
  );
}

function inWords(date: Date, day: Day | undefined): string {
  const name = date.toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short", year: "numeric" });
  return `${name}: ${day ? `${amount(day.netPnl)} from ${trades(day.tradesCount)}` : "nothing closed"}`;
}

function trades(count: number): string {
  return count === 1 ? "1 trade" : `${count} trades`;
}

function monday(date: Date, weeksBefore: number): Date {
  const weekday = (date.getDay() + 6) % 7;
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() - weekday - 7 * weeksBefore);
}

/** By the calendar, not by hours: a day may have 23 or 25. */
function dateOf(number: number): Date {
  return new Date(SINCE.getFullYear(), SINCE.getMonth(), SINCE.getDate() + number);
}

function daysSince(first: Date, date: Date): number {
  const midnight = new Date(date.getFullYear(), date.getMonth(), date.getDate());
  return Math.round((midnight.getTime() - first.getTime()) / DAY);
}

function keyOf(date: Date): string {
  return `${date.getFullYear()}-${date.getMonth()}-${date.getDate()}`;
}
