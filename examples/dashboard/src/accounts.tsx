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
      {data && accounts.length === 0 && <p>You have no accounts.</p>}
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

const PAUSE = 2000; // milliseconds before what has failed is tried again

function Account({ id }: { id: string }) {
  const variables = { id, since: SINCE.toISOString(), zone: ZONE };
  const { data, loading, refetch } = useQuery(ACCOUNT, {
    variables,
    fetchPolicy: "cache-and-network",
    context: { queryDeduplication: false }, // a reading under way may be older than what asks for another
  });
  const [begun, setBegun] = useState(false);
  const [after, setAfter] = useState<string>();
  if (!begun && data && !loading) {
    setBegun(true);
    setAfter(data.activityCursor); // what happens from here on isn't in what has been read
  }

  /** After a cursor that is too old, or an outage: reads all once more, and follows what comes after that. */
  function beginAgain() {
    setAfter(undefined);
    setTimeout(() => refetch().then(({ data: read }) => setAfter(read?.activityCursor), beginAgain), PAUSE);
  }

  const due = useRef<ReturnType<typeof setTimeout>>(undefined);
  // Events may come by the hundred: what they change is read once for all of them.
  useSubscription(ACTIVITY, {
    variables: { ids: [id], after },
    skip: after === undefined,
    ignoreResults: true,
    onError: beginAgain,
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
        <h2>
          Net <Result pnl={stats.netPnl} />
        </h2>
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
              <time>{trade.entryTime && new Date(trade.entryTime).toLocaleString("en-GB", SHORT)}</time>
              {trade.pnl ? <Result pnl={trade.pnl} /> : <span>{trade.status.toLowerCase()}</span>}
            </li>
          ))}
        </ol>
      </section>
    </>
  );
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
