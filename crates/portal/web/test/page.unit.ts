// Small functions of the pages.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fromBase64Url, fromHex, toBase64Url, toHex } from "../src/bytes.ts";
import { spell } from "../src/small.ts";
import { sendTransaction, type Provider, type Transaction, type Wallet } from "../src/wallet.ts";

test("bytes are what their digits say", () => {
  assert.equal(toHex(fromHex("0x00ff10")), "0x00ff10");
  for (const bad of ["0x0", "0xgg", "zz", "0x-1"]) assert.throws(() => fromHex(bad));
});

test("bytes are written for addresses", () => {
  for (const bytes of [[], [0], [0xfb, 0xff], [1, 2, 3, 0xfe]].map((list) => Uint8Array.from(list))) {
    assert.equal(toBase64Url(bytes), Buffer.from(bytes).toString("base64url"));
    assert.deepEqual(fromBase64Url(toBase64Url(bytes)), bytes);
  }
});

test("time left is told in its two largest units", () => {
  assert.equal(spell(0), "0 s");
  assert.equal(spell(725), "12 min 5 s");
  assert.equal(spell(7_380), "2 h 3 min");
});

const account = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
const transaction: Transaction = {
  from: account,
  to: account,
  data: "0x01",
  value: "0",
  nonce: 3,
  chain_id: 7251,
  gas_limit: 21000,
  max_fee_per_gas: "1000000007",
  max_priority_fee_per_gas: "1",
};

/** A wallet at a chain; what it was asked for, but the chain, is in `asked`. */
function walletAt(chainId: string, asked: unknown[]): Wallet {
  const request: Provider["request"] = async (request) => {
    if (request.method === "eth_chainId") return chainId;
    asked.push(request);
    return "0xaa";
  };
  return { info: { uuid: "1", name: "W", icon: "", rdns: "w" }, provider: { request } };
}

const expected = {
  from: account,
  to: account,
  data: "0x01",
  value: "0x0",
  nonce: "0x3",
  gas: "0x5208",
  maxFeePerGas: "0x3b9aca07",
  maxPriorityFeePerGas: "0x1",
  chainId: "0x1c53",
};

test("wallet is given quantities in hexadecimal", async () => {
  const asked: unknown[] = [];
  assert.equal(await sendTransaction(walletAt("0x1c53", asked), account, transaction), "0xaa");
  assert.deepEqual(asked, [{ method: "eth_sendTransaction", params: [expected] }]);
});

test("wallet at another chain is asked to change first", async () => {
  const asked: unknown[] = [];
  await sendTransaction(walletAt("0x1", asked), account, transaction);
  assert.deepEqual(asked, [
    { method: "wallet_switchEthereumChain", params: [{ chainId: "0x1c53" }] },
    { method: "eth_sendTransaction", params: [expected] },
  ]);
});

test("wallet at another account is asked for nothing", async () => {
  const asked: unknown[] = [];
  await assert.rejects(sendTransaction(walletAt("0x1c53", asked), `0x${"11".repeat(20)}`, transaction));
  assert.deepEqual(asked, []);
});
