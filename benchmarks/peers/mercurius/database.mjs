// node-postgres as its documentation has it: one pool, named statements, numbers and times as text.
import pg from "pg";

const TIMESTAMPTZ = 1184;

// "2026-11-22 09:00:00.123456+00" becomes "2026-11-22T09:00:00.123456+00:00"; a Date would lose digits.
pg.types.setTypeParser(TIMESTAMPTZ, (text) => `${text.slice(0, 10)}T${text.slice(11)}:00`);

const connectionString = process.env.DATABASE_URL;

export const pool = new pg.Pool({ connectionString, max: 10, options: "-c timezone=UTC" });

export async function rows(name, text, values, client = pool) {
  return (await client.query({ name, text, values })).rows;
}

export async function listen(channel, heard) {
  const client = new pg.Client({ connectionString, options: "-c timezone=UTC" });
  await client.connect();
  client.on("notification", ({ payload }) => heard(JSON.parse(payload)));
  await client.query(`LISTEN ${channel}`);
}
