import { useEditorContext } from "@graphiql/react";
import { useEffect } from "react";
import { create } from "zustand";

interface Answer {
  /** From sending the request to the last byte of the answer; null if there is no answer to show. */
  milliseconds: number | null;
  /** Of the answer's text, before compression. */
  bytes: number;
}

const NONE: Answer = { milliseconds: null, bytes: 0 };

/** What the latest answer to a query or mutation took. */
export const useAnswer = create<Answer>(() => NONE);

export function clearAnswer(): void {
  useAnswer.setState(NONE);
}

/** Below the response of a query or mutation: how long it took, and how large it is. */
export function Answered() {
  const { milliseconds, bytes } = useAnswer();
  const { activeTabIndex } = useEditorContext({ nonNull: true });
  useEffect(clearAnswer, [activeTabIndex]); // the other tab shows a response of its own
  if (milliseconds === null) {
    return null;
  }
  return (
    <p className="answered">
      {Math.round(milliseconds)} ms, {size(bytes)}
    </p>
  );
}

function size(bytes: number): string {
  return bytes < 1000 ? `${bytes} B` : `${(bytes / 1000).toFixed(1)} kB`;
}
