import { useEditorContext } from "@graphiql/react";
import { useEffect, useLayoutEffect } from "react";
import { create } from "zustand";
import { persist } from "zustand/middleware";

import { config } from "./config.ts";
import { type Person, useSession } from "./session.ts";

type Editors = NonNullable<ReturnType<typeof useEditorContext>>;
type Tab = Editors["tabs"][number];

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

/** The account that was filled in last, "" for none: the next person to sign in gets one of their own. */
const useFilledIn = create<{ accountId: string }>()(
  persist(() => ({ accountId: "" }), { name: "graphql-api:account" }),
);

/** Puts the id of an account into the variables. */
export function fillIn(editor: NonNullable<Editors["variableEditor"]>, accountId: string): void {
  editor.setValue(JSON.stringify({ ...parse(editor.getValue()), accountId }, null, 2));
  useFilledIn.setState({ accountId });
}

/** Fills in the first account of who signed in, where a starter needs one and nobody has written another. */
export function useAccountOfStarter(): void {
  const { tabs, activeTabIndex, variableEditor } = useEditorContext({ nonNull: true });
  const person = useSession((session) => session.person);
  const query = tabs[activeTabIndex]?.query;
  useEffect(() => {
    const starter = config.tabs.find((tab) => tab.query === query);
    const accounts = person?.user.accounts.nodes ?? [];
    if (!variableEditor || !accounts[0] || !starter?.variables?.includes('"accountId"')) {
      return;
    }
    const { accountId } = parse(variableEditor.getValue());
    const isOurs = accountId === "" || accountId === useFilledIn.getState().accountId;
    if (isOurs && !accounts.some(({ id }) => id === accountId)) {
      fillIn(variableEditor, accounts[0].id);
    }
  }, [person, activeTabIndex, variableEditor]);
}

function parse(variables: string): { accountId?: unknown } {
  try {
    return JSON.parse(variables || "{}");
  } catch {
    return {}; // half-written, and about to be replaced
  }
}

function fits(tab: Tab, { roles }: Person): boolean {
  const audience = config.tabs.find(({ query }) => query === tab.query)?.audience;
  return !audience || audience === (roles.some((role) => role !== "user") ? "operator" : "trader");
}
