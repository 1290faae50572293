import { Button, type GraphiQLPlugin, useEditorContext, usePluginStore } from "@graphiql/react";
import { type FormEvent, useEffect, useState } from "react";

import { config, NARROW } from "./config.ts";
import { login, logout, type Person, useSession } from "./session.ts";
import { fillIn, useAccountOfStarter, useFittingStarters } from "./starters.ts";

export const SIGN_IN: GraphiQLPlugin = {
  title: "Sign in",
  icon: () => (
    <svg viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.25" aria-hidden="true">
      <circle cx="8" cy="5" r="3" />
      <path d="M2 14.5c.4-3.4 2.9-5 6-5s5.6 1.6 6 5" strokeLinecap="round" />
    </svg>
  ),
  content: () => {
    const person = useSession((session) => session.person);
    return person ? <SignedIn person={person} /> : <SignIn />;
  },
};

/** At the top right: who is signed in, and the way to change it. */
export function Who() {
  const email = useSession((session) => session.person?.user.email);
  useFittingStarters();
  useAccountOfStarter();
  const ready = usePluginStore(({ plugins }) => plugins.includes(SIGN_IN));
  useEffect(() => {
    if (ready && !useSession.getState().person) {
      toggle("Show");
    }
  }, [ready]);
  return (
    <Button type="button" className="who" title={email} onClick={() => toggle("Show")}>
      {email ?? "Sign in"}
    </Button>
  );
}

/** By the panel's own button: GraphiQL's store says which plugin has the pane, and nothing else opens the pane. */
function toggle(verb: "Show" | "Hide") {
  document.querySelector<HTMLButtonElement>(`.graphiql-sidebar [aria-label="${verb} ${SIGN_IN.title}"]`)?.click();
}

function SignIn() {
  const notice = useSession((session) => session.notice);
  const [failure, setFailure] = useState("");
  const [busy, setBusy] = useState(false);

  async function attempt(email: string, password: string) {
    setBusy(true);
    setFailure("");
    try {
      await login(email, password);
      if (NARROW.matches) {
        toggle("Hide"); // it covers the rest
      }
    } catch (error) {
      setFailure((error as Error).message);
      setBusy(false);
    }
  }

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    void attempt(String(fields.get("email")), String(fields.get("password")));
  }

  return (
    <section className="sign-in" aria-label="Sign in">
      <h1>Sign in</h1>
      <p>Queries and subscriptions then run as you. Without it, only the schema can be read.</p>
      {config.logins.length > 0 && (
        <div className="demo-logins">
          <h2>Demo logins</h2>
          {config.logins.map(({ email, password }) => (
            <Button key={email} type="button" disabled={busy} onClick={() => attempt(email, password)}>
              {email}
            </Button>
          ))}
        </div>
      )}
      <form onSubmit={submit}>
        <label>
          E-mail
          <input name="email" type="email" autoComplete="username" required />
        </label>
        <label>
          Password
          <input name="password" type="password" autoComplete="current-password" required />
        </label>
        <Button type="submit" disabled={busy}>
          Sign in
        </Button>
      </form>
      <p role="alert">{failure || notice}</p>
    </section>
  );
}

function SignedIn({ person }: { person: Person }) {
  const { variableEditor } = useEditorContext({ nonNull: true });
  const [copied, setCopied] = useState(false);
  const { email, accounts } = person.user;

  function choose(accountId: string) {
    if (variableEditor) {
      fillIn(variableEditor, accountId);
    }
    if (NARROW.matches) {
      toggle("Hide");
    }
  }

  return (
    <section className="sign-in" aria-label="Signed in">
      <h1>{email}</h1>
      <p>{person.roles.length > 0 ? person.roles.join(", ").toLowerCase() : "no roles"}</p>
      <p>Queries and subscriptions carry your access token, unless the headers have an Authorization of their own.</p>
      <div className="sign-in-actions">
        {navigator.clipboard && (
          <Button type="button" onClick={() => void copyToken().then(() => setCopied(true))}>
            {copied ? "Copied" : "Copy token"}
          </Button>
        )}
        <Button type="button" onClick={() => void logout()}>
          Sign out
        </Button>
      </div>
      {accounts.nodes.length > 0 && (
        <>
          <h2>Your accounts</h2>
          <p>
            Choose one to put its id into the variables, as <code>accountId</code>.
          </p>
          {accounts.nodes.map(({ id, accountNumber }) => (
            <Button key={id} type="button" title={id} onClick={() => choose(id)}>
              {accountNumber}
            </Button>
          ))}
        </>
      )}
    </section>
  );
}

function copyToken(): Promise<void> {
  return navigator.clipboard.writeText(useSession.getState().tokens?.accessToken ?? "");
}
