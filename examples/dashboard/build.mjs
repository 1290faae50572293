/** Bundles src/ into dist/, which any server of static files can serve. */
import { cp, rm, writeFile } from "node:fs/promises";

import { build } from "esbuild";

await rm("dist", { recursive: true, force: true });
const { metafile } = await build({
  entryPoints: { app: "src/main.tsx" },
  outdir: "dist",
  bundle: true,
  minify: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  define: { "process.env.NODE_ENV": '"production"', "globalThis.__DEV__": "false", __DEV__: "false" },
  chunkNames: "[name]-[hash]",
  legalComments: "none",
  metafile: true,
});
await cp("src/index.html", "dist/index.html");
// The page opens without a network too: its files are kept by a service worker.
const files = ["./", ...Object.keys(metafile.outputs).map((path) => path.replace("dist/", "./"))];
await writeFile("dist/worker.js", worker(files));

function worker(kept) {
  return `const FILES = ${JSON.stringify(kept)};
const NAME = "dashboard-${Date.now()}";
addEventListener("install", (event) =>
  event.waitUntil(caches.open(NAME).then((cache) => cache.addAll(FILES)).then(() => skipWaiting())));
addEventListener("activate", (event) =>
  event.waitUntil(caches.keys().then((names) =>
    Promise.all(names.filter((name) => name !== NAME).map((name) => caches.delete(name)))).then(() => clients.claim())));
addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && new URL(event.request.url).origin === location.origin) {
    event.respondWith(fetch(event.request).catch(() => caches.match(event.request, { ignoreSearch: true })));
  }
});
`;
}
