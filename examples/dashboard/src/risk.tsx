import { useMutation } from "@apollo/client/react";
import { type ChangeEvent, type FormEvent, useState } from "react";

import { amount } from "./amount.ts";
import { graphql } from "./gql";

const UPDATE = graphql(`
  mutation UpdateRisk($id: ID!, $input: UpdateRiskSettingsInput!, $version: String) {
    updateRiskSettings(accountId: $id, input: $input, ifVersion: $version) {
      riskSettings { id maxDailyLoss maxOpenPositions riskPerTrade version }
      account { id riskStatus { dailyLossUsed openPositions breached } }
      userErrors { code message }
    }
  }
`);

interface Settings {
  maxDailyLoss?: string | null;
  maxOpenPositions?: number | null;
  riskPerTrade?: string | null;
  version: string;
}

type Limit = Exclude<keyof Settings, "version">;

interface Props {
  accountId: string;
  settings?: Settings | null;
  status: { dailyLossUsed?: string | null; openPositions: number; breached: string[] };
  /** Resolves once what is shown has been read after the change. */
  onChanged: () => Promise<void>;
}

const DECIMAL = { inputMode: "decimal", pattern: "[0-9]*[.]?[0-9]*", title: "a number, or nothing for no limit" } as const;
const WHOLE = { inputMode: "numeric", pattern: "[0-9]*", title: "a whole number, or nothing for no limit" } as const;

/** How much of each limit is used, and the form that changes them. A change made meanwhile isn't overwritten. */
export function Risk({ accountId, settings, status, onChanged }: Props) {
  const [update] = useMutation(UPDATE);
  const [edited, setEdited] = useState<Partial<Record<Limit, string>>>({});
  const [version, setVersion] = useState<string | null>(null); // of the settings that are being edited
  const [isBusy, setBusy] = useState(false);
  const [said, say] = useState("");

  function edit({ target }: ChangeEvent<HTMLInputElement>) {
    if (Object.keys(edited).length === 0) {
      setVersion(settings?.version ?? null);
    }
    setEdited({ ...edited, [target.name]: target.value });
    say("");
  }

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const input = Object.fromEntries(
      Object.entries(edited).map(([name, text]) => {
        const value = text.trim() || null;
        return [name, value !== null && name === "maxOpenPositions" ? Number(value) : value];
      }),
    );
    setBusy(true);
    try {
      const { data } = await update({ variables: { id: accountId, input, version } });
      const { riskSettings, userErrors } = data!.updateRiskSettings;
      if (userErrors.some(({ code }) => code === "CONFLICT")) {
        setVersion(riskSettings?.version ?? null);
        say("Somebody has changed the limits meanwhile. Look at them, and press Change once more.");
      } else if (userErrors.length > 0) {
        say(userErrors.map(({ message }) => message).join("; "));
      } else {
        setEdited({});
        say("Changed.");
      }
      await onChanged();
    } catch (error) {
      say((error as Error).message);
    } finally {
      setBusy(false);
    }
  }

  const field = (name: Limit, stored: string) => ({ name, value: edited[name] ?? stored, onChange: edit });
  return (
    <section className="card" aria-label="Risk">
      <h2>Risk</h2>
      <Meter name="Daily loss" used={status.dailyLossUsed} limit={settings?.maxDailyLoss} />
      <Meter name="Open positions" used={String(status.openPositions)} limit={settings?.maxOpenPositions?.toString()} />
      {status.breached.length > 0 && (
        <p>Exceeded: {status.breached.join(", ").toLowerCase().replaceAll("_", " ")}</p>
      )}
      <form onSubmit={submit}>
        <label>
          Largest daily loss <input {...DECIMAL} {...field("maxDailyLoss", plain(settings?.maxDailyLoss))} />
        </label>
        <label>
          Open positions at most <input {...WHOLE} {...field("maxOpenPositions", settings?.maxOpenPositions?.toString() ?? "")} />
        </label>
        <label>
          Risk per trade, from 0 to 1 <input {...DECIMAL} {...field("riskPerTrade", plain(settings?.riskPerTrade))} />
        </label>
        <button className="main" disabled={isBusy || Object.keys(edited).length === 0}>Change</button>
      </form>
      <p role="alert">{said}</p>
    </section>
  );
}

function Meter({ name, used, limit }: { name: string; used?: string | null; limit?: string | null }) {
  return (
    <label className="meter">
      {name}: {amount(used ?? "0")}
      {limit == null ? ", without a limit" : ` of ${amount(limit)}`}
      {limit != null && <meter max={Number(limit)} high={Number(limit) * 0.8} value={Number(used ?? 0)} />}
    </label>
  );
}

/** A decimal as somebody would type it. */
function plain(text: string | null | undefined): string {
  return (text?.includes(".") ? text.replace(/\.?0+$/, "") : text) ?? "";
}
