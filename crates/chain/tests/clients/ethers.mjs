// Deploys, writes, reads and watches with ethers. Arguments: port, key; see ../clients.rs.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const contracts = process.env.SALUS_CONTRACTS;
const { Contract, ContractFactory, JsonRpcProvider, Wallet, WebSocketProvider, ZeroHash, isError, toBeHex } =
  createRequire(join(contracts, "package.json"))("ethers");

// Only so that a failing test ends.
setTimeout(() => assert.fail("took too long"), 60_000).unref();

const [port, key] = process.argv.slice(2);
// Without `cacheTimeout` it answers from its memory for 250 ms, in which many blocks are made here.
const provider = new JsonRpcProvider(`http://127.0.0.1:${port}`, undefined, { cacheTimeout: -1, pollingInterval: 20 });
const follower = new WebSocketProvider(`ws://127.0.0.1:${port}`);
const wallet = new Wallet(key, provider);
const { abi, bytecode } = JSON.parse(readFileSync(join(contracts, "artifacts/PatientAccounts.json")));

assert.equal((await provider.getNetwork()).chainId, 31337n);
assert.ok((await provider.getFeeData()).maxFeePerGas > 0n);
const accounts = await new ContractFactory(abi, bytecode, wallet).deploy();
await accounts.waitForDeployment();

const followed = new Contract(await accounts.getAddress(), abi, follower);
let seen;
await followed.on("AccountCreated", (account) => (seen ??= account));
const create = (salt) => [wallet.address, ZeroHash, 604_800, [], toBeHex(salt, 32)];
let salt = 0;
while (seen === undefined) {
  const receipt = await (await accounts.create(...create(++salt))).wait();
  assert.equal(receipt.status, 1);
}
assert.equal(await accounts.isAccount(seen), true);
const stored = await accounts.queryFilter("AccountCreated", 0);
assert.equal(stored.length, salt);
const again = await accounts.create.staticCall(...create(1)).catch((error) => error);
assert.ok(isError(again, "CALL_EXCEPTION"));
assert.equal(again.revert.name, "AccountExists");
assert.equal((await provider.getBlock("finalized")).number, await provider.getBlockNumber());
console.log("ethers is content");
process.exit(0);
