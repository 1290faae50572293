import "./style.css";

import { ApolloProvider } from "@apollo/client/react";
import { type FormEvent, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

import { Accounts } from "./accounts.tsx";
import { client, connection } from "./client.ts";
import { isSignedIn, signIn, signOut } from "./session.ts";

function Page() {
  const [signedIn, setSignedIn] = useState(isSignedIn());
  return signedIn ? (
    <ApolloProvider client={client}>
      <header>
        <h1>Dashboard</h1>
        <Connection />
        <button onClick={signOut}>Sign out</button>
      </header>
      <Accounts />
    </ApolloProvider>
  ) : (
    <SignIn onSignedIn={() => setSignedIn(true)} />
  );
}

function Connection() {
  const [state, setState] = useState("");
  useEffect(() => {
    const says = (text: string) => () => setState(text);
    const online = says("live");
    const offline = says("offline: showing what was read before");
    connection.addEventListener("online", online);
    connection.addEventListener("offline", offline);
    return () => {
      connection.removeEventListener("online", online);
      connection.removeEventListener("offline", offline);
    };
  }, []);
  return <p role="status" data-live={state === "live"}>{state}</p>;
}

function SignIn({ onSignedIn }: { onSignedIn: () => void }) {
  const [failure, setFailure] = useState("");

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    try {
      await signIn(String(fields.get("email")), String(fields.get("password")));
      onSignedIn();
    } catch (error) {
      setFailure((error as Error).message);
    }
  }

  return (
    <form className="card sign-in" onSubmit={submit}>
      <h1>Sign in</h1>
      <label>
        E-mail <input name="email" type="email" autoComplete="username" required />
      </label>
      <label>
        Password <input name="password" type="password" autoComplete="current-password" required />
      </label>
      <button className="main">Sign in</button>
      <p role="alert">{failure}</p>
    </form>
  );
}

createRoot(document.getElementById("app")!).render(<Page />);
void navigator.serviceWorker?.register("worker.js");
