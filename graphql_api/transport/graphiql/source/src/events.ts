import { create } from "zustand";

export interface SourceEvent {
  number: number;
  at: Date;
  result: unknown;
}

interface Events {
  /** The latest first. */
  events: SourceEvent[];
  /** What is shown meanwhile, if somebody reads: nothing moves under their eyes. */
  held: SourceEvent[] | null;
  /** What the subscription waits for, if it can't go on at once. */
  waiting: string;
  clear: () => void;
  hold: () => void;
  release: () => void;
  /** Add results in the order they came in; `skipped` came before them and aren't kept. */
  add: (results: unknown[], skipped: number) => void;
}

/** The number of events that the page keeps. */
export const KEPT = 100;

/** The events of the subscription that runs, or ran last: the response shows one, and the next replaces it. */
export const useEvents = create<Events>((set) => ({
  events: [],
  held: null,
  waiting: "",
  clear: () => set({ events: [], held: null, waiting: "" }),
  hold: () => set(({ events, held }) => ({ held: held ?? events })),
  release: () => set({ held: null }),
  add: (results, skipped) =>
    set(({ events }) => {
      const before = (events[0]?.number ?? 0) + skipped;
      const at = new Date();
      const added = results.map((result, index) => ({ number: before + index + 1, at, result }));
      return { events: [...added.reverse(), ...events].slice(0, KEPT), waiting: "" };
    }),
}));
