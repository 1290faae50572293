import { amount } from "./amount.ts";

const WIDTH = 320;
const HEIGHT = 90;

/** Draws the running sum of results. Numbers become floats here, where they become pixels, and nowhere else. */
export function Curve({ points }: { points: { time: string; cumulativePnl: string }[] }) {
  if (points.length === 0) {
    return <p>Nothing has been closed yet.</p>;
  }
  const values = [0, ...points.map(({ cumulativePnl }) => Number(cumulativePnl))];
  const low = Math.min(0, ...values);
  const span = Math.max(0, ...values) - low || 1;
  const y = (value: number) => HEIGHT - ((value - low) / span) * HEIGHT;
  const line = values.map((value, index) => `${(index / (values.length - 1)) * WIDTH},${y(value).toFixed(1)}`);
  const [first, last] = [points[0]!, points.at(-1)!].map(({ time }) => new Date(time).toLocaleDateString("en-GB", DAY));
  return (
    <figure>
      <svg viewBox={`0 -2 ${WIDTH} ${HEIGHT + 4}`} role="img" aria-label={`Equity curve of ${points.length} points`}>
        <line x1="0" x2={WIDTH} y1={y(0)} y2={y(0)} />
        <polyline points={line.join(" ")} />
      </svg>
      <figcaption>
        <span>{first}</span>
        <span>
          between {round(low)} and {round(low + span)}
        </span>
        <span>{last}</span>
      </figcaption>
    </figure>
  );
}

const DAY = { day: "numeric", month: "short" } as const;

function round(value: number): string {
  return amount(value.toFixed(0));
}
