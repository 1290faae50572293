import { useMutation } from "@apollo/client/react";
import { type FormEvent, useState } from "react";

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

interface Props {
  accountId: string;
  settings?: {
    maxDailyLoss?: string | null;
    maxOpenPositions?: number | null;
    riskPerTrade?: string | null;
    version: string;
  } | null;
  status: { dailyLossUsed?: string | null; openPositions: number; breached: string[] };
}

/** How much of each limit is used, and the form that changes them. A change made meanwhile isn't overwritten. */
export function Risk({ accountId, settings, status }: Props) {
  // A reading that began before the change would show the settings of before: another takes its place.
  const [update] = useMutation(UPDATE, { refetchQueries: ["Account"] });
  const [said, say] = useState("");

  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    const text = (name: string) => String(fields.get(name)).trim() || null;
    const positions = text("maxOpenPositions");
    const input = {
      maxDailyLoss: text("maxDailyLoss"),
      maxOpenPositions: positions === null ? null : Number(positions),
      riskPerTrade: text("riskPerTrade"),
    };
    try {
      const { data } = await update({ variables: { id: accountId, input, version: settings?.version ?? null } });
      const errors = data?.updateRiskSettings.userErrors ?? [];
      say(errors.map(({ message }) => message).join("; ") || "Changed.");
    } catch (error) {
      say((error as Error).message);
    }
  }

  return (
    <section className="card" aria-label="Risk">
      <h2>Risk</h2>
      <Meter name="Daily loss" used={status.dailyLossUsed} limit={settings?.maxDailyLoss} />
      <Meter name="Open positions" used={String(status.openPositions)} limit={settings?.maxOpenPositions?.toString()} />
      {status.breached.length > 0 && (
        <p>Exceeded: {status.breached.join(", ").toLowerCase().replaceAll("_", " ")}</p>
      )}
      <form key={settings?.version} onSubmit={submit}>
        <label>
          Largest daily loss <input name="maxDailyLoss" inputMode="decimal" defaultValue={plain(settings?.maxDailyLoss)} />
        </label>
        <label>
          Open positions at most <input name="maxOpenPositions" inputMode="numeric" defaultValue={settings?.maxOpenPositions ?? ""} />
        </label>
        <label>
          Risk per trade, from 0 to 1 <input name="riskPerTrade" inputMode="decimal" defaultValue={plain(settings?.riskPerTrade)} />
        </label>
        <button className="main">Change</button>
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
