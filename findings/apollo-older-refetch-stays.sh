#!/usr/bin/env bash
# Of two refetches of one query in Apollo Client, the older answer stays if it comes last.
#
# Packages: @apollo/client 4.3.8
# One would guess: A second refetch takes the place of the first, as a query with new variables does: an answer
# to the first that comes later is dropped.
# Seen: Both answers are written as they come. After a first refetch that is slow and a second that isn't, the
# query shows the first one's answer until something else is read. (By default the second isn't even sent: it
# shares the request under way, which began before it.)
# Why it matters: A list that is read again after each event of a subscription may stay without the latest
# event, while everything looks connected.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts @apollo/client@4.3.8 rxjs@7 graphql@16.15.0 react@19
cat >seen.mjs <<'EOF'
import assert from "node:assert";
import { setTimeout as pause } from "node:timers/promises";
import { ApolloClient, ApolloLink, gql, InMemoryCache } from "@apollo/client";
import { Observable } from "rxjs";

// Each request reads how many trades there are when it begins, and answers after a delay of its own.
let trades = 1;
async function shownAfter(queryDeduplication) {
  const delays = [0, 200, 50];
  let requests = 0;
  const link = new ApolloLink(() => new Observable((observer) => {
    const data = { trades };
    const timer = setTimeout(() => {
      observer.next({ data });
      observer.complete();
    }, delays[requests++]);
    return () => clearTimeout(timer);
  }));
  const client = new ApolloClient({ cache: new InMemoryCache(), link });
  const query = client.watchQuery({ query: gql`{ trades }`, context: { queryDeduplication } });
  query.subscribe(() => {});
  await pause(20);
  trades = 2;
  void query.refetch();
  await pause(20);
  trades = 3;
  void query.refetch();
  await pause(400);
  return { requests, shown: query.getCurrentResult().data.trades };
}

const apart = await shownAfter(false);
trades = 1;
const joined = await shownAfter(true);
console.log("3 trades;", { apart, joined });
assert.deepEqual({ apart, joined }, { apart: { requests: 3, shown: 2 }, joined: { requests: 2, shown: 2 } });
EOF
node seen.mjs
