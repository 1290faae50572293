/** What the server tells the page, in a data block of the page itself. */
export interface Config {
  /** Demo logins, offered as buttons. */
  logins: { email: string; password: string }[];
  /** The operations that a first visit opens, one a tab; without an audience it is for everybody. */
  tabs: { query: string; variables: string | null; audience: "trader" | "operator" | null }[];
}

export const config = JSON.parse(document.getElementById("config")!.textContent!) as Config;

/** The page and the API share an address; GET with Accept: text/html is the page. */
export const endpoint = new URL(location.pathname, location.href);

/** As in style.css: here panels cover the editors. */
export const NARROW = matchMedia("(width < 900px)");
