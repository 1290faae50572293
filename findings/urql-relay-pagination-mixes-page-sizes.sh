#!/usr/bin/env bash
# urql's relayPagination answers a request for one row with four, and the cursor of the first.
#
# Packages: @urql/exchange-graphcache 9.0.2, @urql/core 6.0.3
# One would guess: A list with first: 1 is another list than the one with first: 2, or at least pageInfo
# belongs to the rows that are shown.
# Seen: Pages of every size are merged into one list: after two pages of two, first: 1 shows four rows with
# endCursor of the first, and the next page begins with rows that are shown already.
# Why it matters: A widget with the latest trade and a table of all of them, on one page, disturb each other.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts @urql/core@6.0.3 @urql/exchange-graphcache@9.0.2 graphql@16.15.0
cat >seen.mjs <<'EOF'
import assert from "node:assert";
import { Client, fetchExchange, gql } from "@urql/core";
import { cacheExchange } from "@urql/exchange-graphcache";
import { relayPagination } from "@urql/exchange-graphcache/extras";

const all = [1, 2, 3, 4, 5, 6].map((number) => ({ __typename: "Trade", id: String(number) }));

/** A server with six rows, whose cursors are their ids. */
async function fetch(_, { body }) {
  const { first, after } = JSON.parse(body).variables;
  const from = Number(after ?? 0);
  const rows = all.slice(from, from + first);
  const edges = rows.map((node) => ({ __typename: "TradeEdge", cursor: node.id, node }));
  const pageInfo = {
    __typename: "PageInfo",
    startCursor: rows[0].id,
    endCursor: rows.at(-1).id,
    hasNextPage: from + first < all.length,
    hasPreviousPage: false,
  };
  const data = { trades: { __typename: "TradeConnection", edges, pageInfo } };
  return new Response(JSON.stringify({ data }), { headers: { "content-type": "application/json" } });
}

const client = new Client({
  url: "http://127.0.0.1/",
  fetch,
  preferGetMethod: false,
  exchanges: [cacheExchange({ resolvers: { Query: { trades: relayPagination() } } }), fetchExchange],
});
const query = gql`
  query ($first: Int, $after: String) {
    trades(first: $first, after: $after) {
      edges { cursor node { id } }
      pageInfo { startCursor endCursor hasNextPage hasPreviousPage }
    }
  }
`;

async function ask(variables) {
  const { data, error } = await client.query(query, variables).toPromise();
  assert(!error, error);
  const rows = data.trades.edges.map((edge) => edge.node.id).join();
  console.log(`${JSON.stringify(variables)}: rows ${rows}, endCursor ${data.trades.pageInfo.endCursor}`);
  return [rows, data.trades.pageInfo.endCursor];
}

await ask({ first: 2 });
await ask({ first: 2, after: "2" });
assert.deepEqual(await ask({ first: 1 }), ["1,2,3,4", "1"]);
EOF
node seen.mjs
