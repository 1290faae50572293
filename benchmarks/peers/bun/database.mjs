import { SQL } from "bun";

// The benchmark's server listens on a socket in a folder, which a URL gives as its host.
const url = new URL(process.env.DATABASE_URL.replace("@/", "@localhost/"));
const folder = url.searchParams.get("host");
const port = url.searchParams.get("port") ?? url.port;

export const sql = new SQL({
  adapter: "postgres",
  username: decodeURIComponent(url.username),
  password: decodeURIComponent(url.password),
  database: url.pathname.slice(1),
  max: 10,
  ...(folder?.startsWith("/") ? { path: `${folder}/.s.PGSQL.${port}` } : { hostname: url.hostname, port }),
});

export const rows = (text, values, on = sql) => on.unsafe(text, values);
