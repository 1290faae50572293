import { create } from "zustand";

export interface SourceEvent {
  number: number;
  at: Date;
  result: unknown;
}

interface Events {
  /** The latest first. */
  events: SourceEvent[];
  clear: () => void;
  add: (result: unknown) => void;
}

const KEPT = 100;

/** The events of the subscription that runs, or ran last: the response shows one, and the next replaces it. */
export const useEvents = create<Events>((set) => ({
  events: [],
  clear: () => set({ events: [] }),
  add: (result) =>
    set(({ events }) => ({
      events: [{ number: (events[0]?.number ?? 0) + 1, at: new Date(), result }, ...events.slice(0, KEPT - 1)],
    })),
}));
