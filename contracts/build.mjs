// Compiles src/ and writes one artifact per contract, the same bytes on every machine.
//
//   node build.mjs            writes artifacts/<Name>.json
//   node build.mjs --check    writes nothing, and fails when a committed artifact differs
//
// An artifact is {contractName, abi, bytecode, deployedBytecode, sourceDigest}. The digest is the
// SHA-256 over all files of src/, in the order of their paths: for each its path, as "src/Name.sol",
// a zero byte, its bytes, a zero byte. Whoever has no compiler notices a stale artifact by it.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = dirname(fileURLToPath(import.meta.url));
const compilerVersion = "0.8.37";
const verifier = "@openzeppelin/contracts/utils/cryptography/verifiers/ERC7913WebAuthnVerifier.sol";

/** What is deployed, by the file that defines it. */
const contracts = {
  Registry: "src/Registry.sol",
  PatientAccounts: "src/PatientAccounts.sol",
  PatientAccount: "src/PatientAccount.sol",
  Relationships: "src/Relationships.sol",
  Records: "src/Records.sol",
  Consents: "src/Consents.sol",
  EmergencyAccess: "src/EmergencyAccess.sol",
  Prescriptions: "src/Prescriptions.sol",
  LabOrders: "src/LabOrders.sol",
  AccessLog: "src/AccessLog.sol",
  Surgeries: "src/Surgeries.sol",
  Trials: "src/Trials.sol",
  Devices: "src/Devices.sol",
  WaitingLists: "src/WaitingLists.sol",
  PaymentToken: "src/PaymentToken.sol",
  Claims: "src/Claims.sol",
  DataExchange: "src/DataExchange.sol",
  ERC7913WebAuthnVerifier: verifier,
};

/** The settings of foundry.toml. */
const settings = {
  evmVersion: "osaka",
  viaIR: true,
  optimizer: { enabled: true, runs: 800 },
  metadata: { bytecodeHash: "none", appendCBOR: false },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};

const read = (path) => readFileSync(join(here, path));

function sourcePaths() {
  return readdirSync(join(here, "src"), { recursive: true })
    .filter((name) => name.endsWith(".sol"))
    .map((name) => `src/${name.replaceAll("\\", "/")}`)
    .sort();
}

function sourceDigest(paths) {
  const hash = createHash("sha256");
  for (const path of paths) hash.update(path).update("\0").update(read(path)).update("\0");
  return `0x${hash.digest("hex")}`;
}

function compile(paths) {
  if (!solc.version().startsWith(`${compilerVersion}+`)) {
    throw new Error(`solc is ${solc.version()}, not ${compilerVersion}: run npm ci`);
  }
  const sources = { [verifier]: { content: read(`node_modules/${verifier}`).toString() } };
  for (const path of paths) sources[path] = { content: read(path).toString() };
  const input = { language: "Solidity", sources, settings };
  const findImport = (path) => ({ contents: read(`node_modules/${path}`).toString() });

  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: findImport }));
  const messages = output.errors ?? [];
  for (const message of messages) console.error(message.formattedMessage);
  // A warning is a reason to think again, and nobody reads it in a log.
  if (messages.length > 0) throw new Error("the contracts do not compile without a message");
  return output.contracts;
}

function artifacts() {
  const paths = sourcePaths();
  const compiled = compile(paths);
  const digest = sourceDigest(paths);
  return Object.entries(contracts).map(([contractName, path]) => {
    const { abi, evm } = compiled[path][contractName];
    const artifact = {
      contractName,
      abi,
      bytecode: `0x${evm.bytecode.object}`,
      deployedBytecode: `0x${evm.deployedBytecode.object}`,
      sourceDigest: digest,
    };
    return [`${contractName}.json`, `${JSON.stringify(artifact, null, 2)}\n`];
  });
}

function check(built) {
  const committed = new Set(readdirSync(join(here, "artifacts")));
  const wrong = built.filter(([name, text]) => !committed.delete(name) || read(`artifacts/${name}`).toString() !== text);
  const differing = [...wrong.map(([name]) => name), ...committed];
  for (const name of differing) console.error(`artifacts/${name} is not what the sources make: run node build.mjs`);
  if (differing.length > 0) process.exit(1);
  console.log(`${built.length} artifacts are what the sources make`);
}

function write(built) {
  rmSync(join(here, "artifacts"), { recursive: true, force: true });
  mkdirSync(join(here, "artifacts"));
  for (const [name, text] of built) writeFileSync(join(here, "artifacts", name), text);
  console.log(`wrote ${built.length} artifacts`);
}

const built = artifacts();
if (process.argv.includes("--check")) check(built);
else write(built);
