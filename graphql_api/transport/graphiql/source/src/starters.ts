import { useEditorContext } from "@graphiql/react";
import { useLayoutEffect } from "react";
import { create } from "zustand";
import { persist } from "zustand/middleware";

import { config } from "./config.ts";
import { type Person, useSession } from "./session.ts";

type Tab = NonNullable<ReturnType<typeof useEditorContext>>["tabs"][number];

interface Away {
  tabs: Tab[];
}

/** Starters that were put away, for whom they don't fit. The tabs outlive a visit, and so do these. */
const useAway = create<Away>()(persist((): Away => ({ tabs: [] }), { name: "graphql-api:starters" }));

/** Shows the starters that fit who signed in, and puts the others away. What somebody has changed stays. */
export function useFittingStarters(): void {
  const { tabs, activeTabIndex, changeTab, moveTab } = useEditorContext({ nonNull: true });
  const person = useSession((session) => session.person);
  // Before the page is painted: nobody sees, or clicks on, tabs that are about to go.
  useLayoutEffect(() => {
    if (!person) {
      return;
    }
    const open = new Set(tabs.map(({ query }) => query)); // a page that closed early has stored older tabs
    const all = [...tabs, ...useAway.getState().tabs.filter(({ query }) => !open.has(query))];
    const shown = all.filter((tab) => fits(tab, person));
    if (shown.length === 0 || (shown.length === tabs.length && shown.every((tab) => tabs.includes(tab)))) {
      return;
    }
    useAway.setState({ tabs: all.filter((tab) => !shown.includes(tab)) });
    if (!shown.includes(tabs[activeTabIndex]!)) {
      changeTab(tabs.findIndex((tab) => shown.includes(tab)));
    }
    moveTab(shown);
  }, [person]);
}

function fits(tab: Tab, { roles }: Person): boolean {
  const audience = config.tabs.find(({ query }) => query === tab.query)?.audience;
  return !audience || audience === (roles.some((role) => role !== "user") ? "operator" : "trader");
}
