// Deploys, writes, reads, watches and proves with viem. Arguments: port, key; see ../clients.rs.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const contracts = process.env.SALUS_CONTRACTS;
const require = createRequire(join(contracts, "package.json"));
const { BaseError, ContractFunctionRevertedError, createPublicClient, createWalletClient, defineChain } =
  require("viem");
const { http, numberToHex, parseEther, webSocket, zeroHash } = require("viem");
const { privateKeyToAccount } = require("viem/accounts");

// Only so that a failing test ends.
setTimeout(() => assert.fail("took too long"), 60_000).unref();

const [port, key] = process.argv.slice(2);
const account = privateKeyToAccount(key);
const chain = defineChain({
  id: 31337,
  name: "Salus",
  nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
  rpcUrls: { default: { http: [`http://127.0.0.1:${port}`], webSocket: [`ws://127.0.0.1:${port}`] } },
});
const reader = createPublicClient({ chain, transport: http(undefined, { batch: true }), pollingInterval: 20 });
const follower = createPublicClient({ chain, transport: webSocket() });
const wallet = createWalletClient({ chain, account, transport: http() });
const { abi, bytecode } = JSON.parse(readFileSync(join(contracts, "artifacts/PatientAccounts.json")));

assert.equal(await reader.getChainId(), 31337);
const [balance, nonce, fees] = await Promise.all([
  reader.getBalance({ address: account.address }),
  reader.getTransactionCount({ address: account.address, blockTag: "pending" }),
  reader.estimateFeesPerGas(),
]);
assert.ok(balance > parseEther("1") && fees.maxFeePerGas > 0n);

const deployment = await wallet.deployContract({ abi, bytecode });
const deployed = await reader.waitForTransactionReceipt({ hash: deployment });
assert.equal(deployed.status, "success");
const address = deployed.contractAddress;
assert.equal((await reader.getTransaction({ hash: deployment })).nonce, nonce);

const create = (salt) => ({
  address,
  abi,
  functionName: "create",
  args: [account.address, zeroHash, 604_800, [], numberToHex(salt, { size: 32 })],
});

// The subscription is open at some moment after the call that opens it, so go on until it tells.
const seen = [];
const heads = [];
const onError = (error) => assert.fail(error);
follower.watchContractEvent({ address, abi, eventName: "AccountCreated", onLogs: (logs) => seen.push(...logs), onError });
follower.watchBlocks({ onBlock: (block) => heads.push(block.number), onError });
let salt = 0n;
while (seen.length === 0 || heads.length === 0) {
  const { request, result } = await reader.simulateContract({ account, ...create(++salt) });
  const receipt = await reader.waitForTransactionReceipt({ hash: await wallet.writeContract(request) });
  assert.equal(receipt.status, "success");
  const created = await reader.readContract({ address, abi, functionName: "isAccount", args: [result] });
  assert.equal(created, true);
}
const stored = await reader.getContractEvents({ address, abi, eventName: "AccountCreated", fromBlock: 0n });
assert.equal(BigInt(stored.length), salt);
const told = stored.find((log) => log.transactionHash === seen[0].transactionHash);
assert.deepEqual(told.args, seen[0].args);

// A custom error comes back by name and with its values.
const again = await reader.simulateContract({ account, ...create(1n) }).catch((error) => error);
assert.ok(again instanceof BaseError);
const revert = again.walk((error) => error instanceof ContractFunctionRevertedError);
assert.equal(revert.data.errorName, "AccountExists");
assert.deepEqual(revert.data.args, [stored[0].args.account]);

const proof = await reader.getProof({ address: stored[0].args.account, storageKeys: [zeroHash] });
assert.ok(proof.accountProof.length > 0);
const slot = await reader.getStorageAt({ address: stored[0].args.account, slot: zeroHash });
assert.equal(proof.storageProof[0].value, BigInt(slot));

const filter = await reader.createBlockFilter();
const last = await wallet.sendTransaction({ to: account.address, value: 1n });
const receipt = await reader.waitForTransactionReceipt({ hash: last });
assert.deepEqual(await reader.getFilterChanges({ filter }), [receipt.blockHash]);
const finalized = await reader.getBlock({ blockTag: "finalized", includeTransactions: true });
assert.equal(finalized.transactions[0].hash, last);
const history = await reader.getFeeHistory({ blockCount: 2, rewardPercentiles: [50] });
assert.equal(history.baseFeePerGas.length, 3);
console.log("viem is content");
process.exit(0);
