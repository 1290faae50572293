import { useQuery, useSubscription } from "@apollo/client/react";
import { lazy, Suspense, useRef, useState } from "react";

import { amount } from "./amount.ts";
import { Calendar, SINCE, ZONE } from "./calendar.tsx";
import { Curve } from "./curve.tsx";
import { graphql } from "./gql";
import { Risk } from "./risk.tsx";

const ACCOUNTS = graphql(`
  query Accounts {
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

const ACTIVITY = graphql(`
  subscription Activity($ids: [ID!], $after: String) {
    accountActivity(accountIds: $ids, kinds: [TRADE, RISK_SETTINGS], after: $after) { kind cursor }
  }
`);

const Log = lazy(() => import("./log.tsx")); // few may read it

/** The viewer's accounts: one is chosen, and shown with what happens in it. */
export function Accounts() {
  const { data, error } = useQuery(ACCOUNTS);
  const accounts = data?.viewer.user?.accounts.nodes ?? [];
  const [chosen, choose] = useState<string>();
  const id = chosen ?? accounts[0]?.id;
  return (
    <main>
      {error && accounts.length === 0 && <p role="alert">{error.message}</p>}
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
  const { data, loading, refetch } = useQuery(ACCOUNT, { variables, fetchPolicy: "cache-and-network" });
  const [after, setAfter] = useState<string | null>();
  if (after === undefined && data && !loading) {
    setAfter(data.activityCursor); // what happens from here on isn't in what has been read
  }
  const due = useRef<ReturnType<typeof setTimeout>>(undefined);
  // Events may come by the hundred: what they change is read once for all of them.
  useSubscription(ACTIVITY, {
    variables: { ids: [id], after },
    skip: after === undefined,
    ignoreResults: true,
    onError: () => setAfter(null), // a cursor from long ago is refused: begin with what happens now
    onData: () => {
      due.current ??= setTimeout(() => {
        due.current = undefined;
        refetch().catch(() => {}); // offline: what comes with the connection starts it again
      }, 300);
    },
  });
  const account = data?.account;
  if (!account) {
    return null;
  }
  const { stats } = account;
  return (
    <>
      <section className="card" aria-label="Equity">
        <h2>{amount(stats.netPnl)} net</h2>
        <p>
          {stats.tradesCount} trades closed{stats.winRate && `, ${percent(stats.winRate)} of them won`}
        </p>
        <Curve points={stats.equityCurve} />
      </section>
      <Calendar days={account.lately.equityCurve} />
      <Risk accountId={id} settings={account.riskSettings} status={account.riskStatus} />
      <section className="card" aria-label="Trades">
        <h2>Trades</h2>
        <ol>
          {data.trades.nodes.map((trade) => (
            <li key={trade.id}>
              <b>{trade.symbol}</b> {trade.direction.toLowerCase()} {amount(trade.size ?? "")}
              <span>{trade.pnl ? amount(trade.pnl) : trade.status.toLowerCase()}</span>
            </li>
          ))}
        </ol>
      </section>
    </>
  );
}

/** A ratio in text as a percentage, for eyes only. */
function percent(ratio: string): string {
  return `${(Number(ratio) * 100).toFixed(1)} %`;
}
