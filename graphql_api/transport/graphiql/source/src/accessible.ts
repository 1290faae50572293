// What GraphiQL lacks for those who use a keyboard or hear the page: its own elements, mended as they appear.

interface Editor extends Element {
  CodeMirror?: { getOption(name: string): object; setOption(name: string, value: object): void };
}

/** Each selector, and what is done once to every element that it finds. */
const MENDS: [string, (element: Element) => void][] = [
  // A tab of the operations is a button beside the button that closes it, and no element of its own.
  [".graphiql-tabs[role]", (list) => list.removeAttribute("role")],
  [".graphiql-tab[role]", (tab) => tab.removeAttribute("role")],
  [".graphiql-tab[aria-selected]", chooseTab],
  [".CodeMirror textarea:not([aria-label])", (area) => area.setAttribute("aria-label", placeOf(area))],
  [".CodeMirror-scroll[tabindex='-1']", (region) => region.setAttribute("tabindex", "0")],
  [".graphiql-history-item-label[aria-label]", (button) => button.removeAttribute("aria-label")],
  [".CodeMirror:not([data-leaves-tab])", leaveTab],
];

/** Mends what is there and what comes. */
export function makeAccessible(page: HTMLElement): void {
  let due = false;
  const mend = () => {
    due = false;
    for (const [selector, change] of MENDS) {
      page.querySelectorAll(selector).forEach(change);
    }
  };
  new MutationObserver(() => {
    if (!due) {
      due = true;
      requestAnimationFrame(mend);
    }
  }).observe(page, { subtree: true, childList: true, attributeFilter: ["aria-selected", "role"] });
  mend();
  document.addEventListener("keydown", searchDocs, { capture: true });
}

/** Ctrl-K, which the search of the documentation shows, and GraphiQL knows on Apple's keyboards only. */
function searchDocs(event: KeyboardEvent): void {
  if (!event.ctrlKey || event.code !== "KeyK") {
    return;
  }
  event.preventDefault();
  event.stopPropagation();
  document.querySelector<HTMLButtonElement>('[aria-label="Show Documentation Explorer"]')?.click();
  requestAnimationFrame(() => document.querySelector<HTMLElement>(".graphiql-doc-explorer-search-input input")?.focus());
}

function chooseTab(tab: Element): void {
  tab.querySelector("button")?.setAttribute("aria-current", tab.getAttribute("aria-selected")!);
  tab.removeAttribute("aria-selected");
}

function placeOf(area: Element): string {
  return area.closest("[aria-label]")?.getAttribute("aria-label") ?? "Response";
}

/** Tab leads on to the next element, as everywhere: an editor that keeps it is a trap. */
function leaveTab(editor: Editor): void {
  const mirror = editor.CodeMirror;
  if (mirror) {
    mirror.setOption("extraKeys", { ...mirror.getOption("extraKeys"), Tab: false, "Shift-Tab": false });
    editor.setAttribute("data-leaves-tab", "");
  }
}
