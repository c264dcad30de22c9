// Bundles src/main.ts into ../assets/salus.js, the same bytes on every machine.
//
//   node build.mjs            writes it
//   node build.mjs --check    writes nothing, and fails when the committed bundle differs, when a type is wrong, or
//                             when a test of test/*.unit.ts fails

import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const bundle = join(here, "../assets/salus.js");

/** How large the bundle may be when it is compressed, in bytes. */
const SIZE_MAX = 40_000;

/** Licences that let everybody use what we make of them. */
const LICENCES = ["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"];

const banner = `// Made by crates/portal/web/build.mjs from its src/. Do not edit.
// With parts of ox (MIT, wevm), @noble/hashes (MIT, Paul Miller) and @hpke/core (MIT, Ajitomi Daisuke).`;

async function bundled() {
  const { outputFiles, warnings, metafile } = await build({
    absWorkingDir: here,
    entryPoints: ["src/main.ts"],
    bundle: true,
    minify: true,
    format: "iife",
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
    banner: { js: banner },
    write: false,
    metafile: true,
  });
  if (warnings.length > 0) throw new Error("the bundle is not made without a warning");
  // What only tests use is not in it, and may be under other licences.
  const packages = Object.keys(metafile.inputs).flatMap((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []);
  for (const name of new Set(packages)) {
    const { license } = JSON.parse(readFileSync(join(here, "node_modules", name, "package.json")));
    if (!LICENCES.includes(license)) throw new Error(`${name} is under ${license}`);
  }
  return Buffer.from(outputFiles[0].contents);
}

function run(program, ...options) {
  const { status, error } = spawnSync(program, options, { cwd: here, stdio: "inherit" });
  if (error) throw error;
  if (status !== 0) throw new Error(`${program} ${options.join(" ")} ended with ${status}`);
}

/** The tests that need no browser, each bundled so that Node's own test runner takes it. */
async function unitTests() {
  const out = join(here, "node_modules/.unit");
  rmSync(out, { recursive: true, force: true });
  const names = readdirSync(join(here, "test")).filter((name) => name.endsWith(".unit.ts"));
  await build({
    absWorkingDir: here,
    entryPoints: names.map((name) => `test/${name}`),
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    outdir: out,
    outExtension: { ".js": ".mjs" },
  });
  run(process.execPath, "--test", ...names.map((name) => join(out, name.replace(/\.ts$/, ".mjs"))));
}

const made = await bundled();
const size = gzipSync(made, { level: 9 }).length;
if (size > SIZE_MAX) throw new Error(`salus.js has ${size} bytes when compressed, more than ${SIZE_MAX}`);
if (process.argv.includes("--check")) {
  if (!made.equals(readFileSync(bundle))) throw new Error("salus.js is not what src/ makes: run cargo xtask portal build");
  run(join(here, "node_modules/.bin/tsc"));
  await unitTests();
} else {
  mkdirSync(dirname(bundle), { recursive: true });
  writeFileSync(bundle, made);
}
console.log(`salus.js: ${made.length} bytes, ${size} compressed`);
