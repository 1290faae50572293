/** Who is signed in, in this tab of the browser, and tokens that are renewed in time. */
const api = document.querySelector<HTMLMetaElement>('meta[name="api"]')!.content;
export const url = new URLSearchParams(location.search).get("api") ?? api;

interface Tokens {
  accessToken: string;
  refreshToken: string;
  expiresAt: string;
}

/** The service's no, as against a failure to ask it. */
class Refused extends Error {}

const STORED = "dashboard:tokens";
const LOGIN = `mutation ($email: String!, $password: String!) {
  login(email: $email, password: $password) { accessToken refreshToken expiresAt userErrors { message } }
}`;
const RENEW = `mutation ($token: String!) {
  refreshToken(refreshToken: $token) { accessToken refreshToken expiresAt userErrors { message } }
}`;

let tokens: Tokens | null = JSON.parse(sessionStorage.getItem(STORED) ?? "null");
let renewal: Promise<void> | undefined;

export function isSignedIn(): boolean {
  return tokens !== null;
}

export async function signIn(email: string, password: string): Promise<void> {
  keep(await ask("login", LOGIN, { email, password }));
}

export function signOut(): void {
  tokens = null;
  sessionStorage.clear(); // what one person has read is nobody else's
  location.reload();
}

/** Renews the tokens before they are used once more: the service has closed a socket because of them. */
export function distrust(): void {
  if (tokens) {
    keep({ ...tokens, expiresAt: new Date(0).toISOString() });
  }
}

/** Returns a valid access token. Rejects where the login has ended, or the service can't be reached. */
export async function token(): Promise<string> {
  if (tokens && Date.parse(tokens.expiresAt) - Date.now() < 60_000) {
    renewal ??= ask("refreshToken", RENEW, { token: tokens.refreshToken })
      .then(keep, (error: unknown) => {
        if (error instanceof Refused) {
          signOut(); // the login has ended
        }
        throw error;
      })
      .finally(() => {
        renewal = undefined;
      });
    await renewal;
  }
  return tokens?.accessToken ?? "";
}

function keep(newer: Tokens | null): void {
  tokens = newer;
  sessionStorage.setItem(STORED, JSON.stringify(newer));
}

async function ask(field: string, query: string, variables: object): Promise<Tokens> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  const answer = data?.[field];
  if (!answer) {
    throw new Error(errors?.[0]?.message ?? "The service gave no answer.");
  }
  if (!answer.accessToken) {
    throw new Refused(answer.userErrors[0]?.message);
  }
  return answer;
}
