// Writes what Slither compiles, as standard JSON, to the standard output: every file of src/ and what it
// imports. Slither then asks the compiler of npm (solc-wrap), and no other one is downloaded.

import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const sources = {};

function add(path) {
  if (path in sources) return;
  const file = path.startsWith("@openzeppelin/") ? `node_modules/${path}` : path;
  const content = readFileSync(join(here, file)).toString();
  sources[path] = { content };
  for (const [, imported] of content.matchAll(/^import\s[^"]*"([^"]+)"/gm)) {
    add(imported.startsWith(".") ? posix.join(posix.dirname(path), imported) : imported);
  }
}

const names = readdirSync(join(here, "src"), { recursive: true });
names.filter((name) => name.endsWith(".sol")).sort().forEach((name) => add(`src/${name}`));

const wanted = ["abi", "metadata", "devdoc", "userdoc", "evm.bytecode", "evm.deployedBytecode"];
const settings = {
  evmVersion: "osaka",
  // What Slither reads is the syntax tree; the bytecode is made only because its compilation asks for it.
  optimizer: { enabled: true, runs: 1 },
  outputSelection: { "*": { "*": wanted, "": ["ast"] } },
};
process.stdout.write(JSON.stringify({ language: "Solidity", sources, settings }));
