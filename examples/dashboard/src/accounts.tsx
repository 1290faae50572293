import { lazy, Suspense, useState } from "react";

import { amount } from "./amount.ts";
import { Calendar, SINCE, ZONE } from "./calendar.tsx";
import { Curve } from "./curve.tsx";
import { graphql } from "./gql";
import { useLive } from "./live.ts";
import { Risk } from "./risk.tsx";

const ACCOUNTS = graphql(`
  query Accounts {
    activityCursor
    viewer { scopes user { id accounts(first: 20) { nodes { id accountNumber isActive } } } }
  }
`);

const ACCOUNT = graphql(`
  query Account($id: ID!, $since: DateTime!, $zone: String!) {
    activityCursor
    account(id: $id) {
      id
      stats { netPnl winRate tradesCount equityCurve(interval: DAY, maxPoints: 200) { time cumulativePnl } }
      lately: stats(range: { from: $since }) {
        equityCurve(interval: DAY, timezone: $zone, maxPoints: 200) { time netPnl tradesCount }
      }
      riskSettings { id maxDailyLoss maxOpenPositions riskPerTrade version }
      riskStatus { dailyLossUsed openPositions breached }
    }
    trades(first: 8, filter: { accountId: $id }) {
      nodes { id symbol direction size pnl status entryTime }
    }
  }
`);

const Log = lazy(() => import("./log.tsx")); // few may read it

/** The viewer's accounts: one is chosen, and shown with what happens in it. */
export function Accounts() {
  const { data, error } = useLive(ACCOUNTS, {}, { kinds: ["ACCOUNT"] });
  const accounts = data?.viewer.user?.accounts.nodes ?? [];
  const [chosen, choose] = useState<string>();
  const id = accounts.some((account) => account.id === chosen) ? chosen : accounts[0]?.id;
  return (
    <main>
      {data && accounts.length === 0 && <p>You have no accounts.</p>}
      <Failure error={error} />
      <nav aria-label="Accounts">
        {accounts.map((account) => (
          <button key={account.id} aria-pressed={account.id === id} onClick={() => choose(account.id)}>
            {account.accountNumber}
          </button>
        ))}
      </nav>
      {id && <Account key={id} id={id} />}
      {data?.viewer.scopes.includes("logs:read") && (
        <Suspense>
          <Log />
        </Suspense>
      )}
    </main>
  );
}

function Account({ id }: { id: string }) {
  const variables = { id, since: SINCE.toISOString(), zone: ZONE };
  const followed = { kinds: ["TRADE" as const, "RISK_SETTINGS" as const], ids: [id] };
  const { data, error, reading } = useLive(ACCOUNT, variables, followed);
  const account = data?.account;
  if (!account) {
    return error ? <Failure error={error} /> : <p>{data ? "There is no such account any more." : "Reading …"}</p>;
  }
  const { stats } = account;
  return (
    <>
      <Failure error={error} />
      <section className="card" aria-label="Equity">
        <h2>
          Net <Result pnl={stats.netPnl} />
        </h2>
        <p>
          {stats.tradesCount} trades closed{stats.winRate && `, ${percent(stats.winRate)} of them won`}
        </p>
        <Curve points={stats.equityCurve} />
      </section>
      <Calendar days={account.lately.equityCurve} />
      <Risk accountId={id} settings={account.riskSettings} status={account.riskStatus} onChanged={() => reading.restart()} />
      <section className="card" aria-label="Trades">
        <h2>Trades</h2>
        <ol>
          {data.trades.nodes.map((trade) => (
            <li key={trade.id}>
              <b>{trade.symbol}</b> {trade.direction.toLowerCase()} {amount(trade.size ?? "")}
              <time>{trade.entryTime && new Date(trade.entryTime).toLocaleString("en-GB", SHORT)}</time>
              {trade.pnl ? <Result pnl={trade.pnl} /> : <span>{trade.status.toLowerCase()}</span>}
            </li>
          ))}
        </ol>
      </section>
    </>
  );
}

/** Why what is shown may be older than what the service has. */
function Failure({ error }: { error: Error | undefined }) {
  return error && <p role="alert">This couldn't be read, and is tried again: {error.message}</p>;
}

const SHORT = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" } as const;

/** A gain or a loss, in the calendar's colours. */
function Result({ pnl }: { pnl: string }) {
  return <span data-sign={Math.sign(Number(pnl))}>{amount(pnl)}</span>;
}

/** A ratio in text as a percentage, for eyes only. */
function percent(ratio: string): string {
  return `${(Number(ratio) * 100).toFixed(1)} %`;
}
