/** Bundles src/ into ../static: one script, one style sheet, fonts, and the licences of what is in them. */
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { build } from "esbuild";

const OUTPUT = join(import.meta.dirname, "../static");

/** GraphiQL's style sheet carries each alphabet of its fonts as data; style.css names the files we serve. */
const withoutFonts = {
  name: "without-fonts",
  setup({ onLoad }) {
    onLoad({ filter: /graphiql\/dist\/style\.css$/ }, async ({ path }) => ({
      contents: (await readFile(path, "utf8")).replaceAll(/@font-face\s*{[^}]*}/g, ""),
      loader: "css",
    }));
  },
};

await rm(OUTPUT, { recursive: true, force: true });
const { metafile } = await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: { graphiql: "src/main.tsx", icon: "src/icon.svg" },
  outdir: OUTPUT,
  entryNames: "[name]-[hash]",
  assetNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  define: { "process.env.NODE_ENV": '"production"' },
  loader: { ".woff2": "file", ".svg": "copy" },
  alias: { "react-style-singleton": "./src/react-style-singleton.ts" },
  plugins: [withoutFonts],
  legalComments: "none",
  banner: { js: "/* Licences: LICENSES.txt beside this file. */" },
  metafile: true,
  logLevel: "info",
});
await writeFile(join(OUTPUT, "LICENSES.txt"), await licences(Object.keys(metafile.inputs)));

/** The packages that went into the bundle, by the text of their licence. */
async function licences(inputs) {
  const folders = inputs.map((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]);
  const packages = await Promise.all([...new Set(folders.filter(Boolean))].sort().map(describe));
  // A repository of several packages may keep its licence in only one of them.
  const texts = new Map(packages.filter(({ text }) => text).map(({ repository, text }) => [repository, text]));
  const titles = new Map();
  for (const { title, repository, text = texts.get(repository) } of packages) {
    const said = text ?? `The package has no licence file. Its source: ${repository}`;
    titles.set(said, [...(titles.get(said) ?? []), title]);
  }
  const entries = [...titles].map(([text, names]) => `${names.join("\n")}\n\n${text}`);
  return `${entries.join(`\n\n${"-".repeat(80)}\n\n`)}\n`;
}

async function describe(folder) {
  const about = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
  return {
    title: `${about.name} ${about.version} (${about.license})`,
    repository: about.repository?.url ?? about.repository,
    text: file && (await readFile(join(folder, file), "utf8")).replaceAll("\r\n", "\n").trim(),
  };
}
