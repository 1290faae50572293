#!/usr/bin/env bash
# Apollo's relayStylePagination merges edges, and of nodes keeps only the latest page's.
#
# Packages: @apollo/client 4.3.8
# One would guess: A connection that has `edges` and `nodes` for the same rows shows the same rows in both
# after the second page.
# Seen: edges has four rows, nodes two: fields beside edges and pageInfo are taken from the page that came
# last.
# Why it matters: The shorter way to ask for a list (nodes) shows a list that doesn't grow, without an error
# or a warning.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts @apollo/client@4.3.8 rxjs@7 graphql@16.15.0 react@19
cat >seen.mjs <<'EOF'
import assert from "node:assert";
import { gql, InMemoryCache } from "@apollo/client";
import { relayStylePagination } from "@apollo/client/utilities";

const query = gql`
  query ($after: String) {
    trades(first: 2, after: $after) {
      nodes { __typename id }
      edges { __typename cursor node { __typename id } }
      pageInfo { __typename startCursor endCursor hasNextPage hasPreviousPage }
      __typename
    }
  }
`;
const cache = new InMemoryCache({ typePolicies: { Query: { fields: { trades: relayStylePagination() } } } });
const trade = (id) => ({ __typename: "Trade", id });

function write(after, ids) {
  const edges = ids.map((id) => ({ __typename: "TradeEdge", cursor: id, node: trade(id) }));
  const pageInfo = {
    __typename: "PageInfo",
    startCursor: ids[0],
    endCursor: ids.at(-1),
    hasNextPage: true,
    hasPreviousPage: false,
  };
  const trades = { __typename: "TradeConnection", nodes: ids.map(trade), edges, pageInfo };
  cache.writeQuery({ query, variables: { after }, data: { trades } });
}

write(null, ["1", "2"]);
write("2", ["3", "4"]);
const { trades } = cache.readQuery({ query, variables: { after: null } });
const ids = (nodes) => nodes.map((node) => node.id).join();
const seen = { edges: ids(trades.edges.map((edge) => edge.node)), nodes: ids(trades.nodes) };
console.log(seen);
assert.deepEqual(seen, { edges: "1,2,3,4", nodes: "3,4" });
EOF
node seen.mjs
