import { create } from "zustand";
import { createJSONStorage, persist } from "zustand/middleware";

import { type Headers, post, read } from "./http.ts";

interface Tokens {
  accessToken: string;
  refreshToken: string;
  expiresAt: string;
}

export interface Person {
  roles: string[];
  user: { email: string; accounts: { nodes: { id: string; accountNumber: string }[] } };
}

interface Session {
  tokens: Tokens | null;
  person: Person | null;
  /** Why nobody is signed in any more, if that came unasked. */
  notice: string;
}

interface Answer extends Tokens {
  viewer: Person;
  userErrors: { message: string }[];
}

/** The server's no, as against a failure to ask it. */
class Refused extends Error {}

const NOBODY: Session = { tokens: null, person: null, notice: "" };
const MARGIN = 30_000; // milliseconds before its end in which a token counts as ended

const LOGIN = `mutation Login($email: String!, $password: String!) {
  login(email: $email, password: $password) {
    accessToken refreshToken expiresAt
    viewer { roles user { email accounts(first: 10) { nodes { id accountNumber } } } }
    userErrors { message }
  }
}`;
const REFRESH = `mutation Refresh($refreshToken: String!) {
  refreshToken(refreshToken: $refreshToken) { accessToken refreshToken expiresAt userErrors { message } }
}`;
const LOGOUT = `mutation Logout($refreshToken: String!) {
  logout(refreshToken: $refreshToken) { userErrors { message } }
}`;

// Of this browser tab, and gone with it: tokens don't belong where every later page finds them.
export const useSession = create<Session>()(
  persist(() => NOBODY, { name: "graphql-api:session", storage: createJSONStorage(() => sessionStorage) }),
);

/** Sign in. Rejects with the server's reason. */
export async function login(email: string, password: string): Promise<void> {
  const { viewer, ...tokens } = await ask("login", LOGIN, { email, password });
  useSession.setState({ tokens: pick(tokens), person: viewer, notice: "" });
}

/** Sign out, here at once and then at the server. */
export async function logout(): Promise<void> {
  const { tokens } = useSession.getState();
  useSession.setState(NOBODY);
  try {
    await ask("logout", LOGOUT, { refreshToken: tokens?.refreshToken ?? "" });
  } catch {
    useSession.setState({ notice: "The server couldn't be told: the login ends there when its time is over." });
  }
}

/** The Authorization of whoever is signed in, renewed if its time is nearly over; nothing for nobody. */
export async function authorization(): Promise<Headers> {
  const { tokens } = useSession.getState();
  if (tokens && Date.parse(tokens.expiresAt) - Date.now() < MARGIN) {
    await renew();
  }
  const current = useSession.getState().tokens;
  return current ? { authorization: `Bearer ${current.accessToken}` } : {};
}

let renewal: Promise<void> | null = null;

/** Get new tokens, or sign out if there are none to be had: once for all who ask, as a refresh token is good once. */
export function renew(): Promise<void> {
  renewal ??= exchange().finally(() => {
    renewal = null;
  });
  return renewal;
}

async function exchange(): Promise<void> {
  const { tokens } = useSession.getState();
  try {
    const answer = await ask("refreshToken", REFRESH, { refreshToken: tokens?.refreshToken ?? "" });
    useSession.setState({ tokens: pick(answer) });
  } catch (error) {
    if (!(error instanceof Refused)) {
      throw error;
    }
    useSession.setState({ ...NOBODY, notice: "The login has ended. Sign in again." });
  }
}

async function ask(field: string, query: string, variables: object): Promise<Answer> {
  const response = await read(await post({ query, variables }));
  const answer: Answer | undefined = response.data?.[field];
  if (!answer) {
    throw new Error(response.errors?.[0]?.message ?? "The server gave no answer.");
  }
  if (answer.userErrors[0]) {
    throw new Refused(answer.userErrors[0].message);
  }
  return answer;
}

function pick({ accessToken, refreshToken, expiresAt }: Tokens): Tokens {
  return { accessToken, refreshToken, expiresAt };
}
