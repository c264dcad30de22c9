// The script in a browser, on pages that have what the portal's pages have, against a server that answers as it does.

import assert from "node:assert/strict";
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { decodeAbiParameters, hashTypedData, recoverTypedDataAddress, verifyMessage } from "viem";
import { privateKeyToAccount } from "viem/accounts";

import { addPasskeys, axe, keepSecrets, launch, leaks, visit } from "./harness.mjs";

const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const script = readFileSync(new URL("../../../assets/salus.js", import.meta.url));
const challenge = `0x${"c1".repeat(32)}`;
const privateKey = `0x${"17".repeat(32)}`;
const account = privateKeyToAccount(privateKey).address;
const typedData = {
  types: {
    EIP712Domain: [{ name: "name", type: "string" }, { name: "chainId", type: "uint256" }],
    Message: [{ name: "hash", type: "bytes32" }],
  },
  primaryType: "Message",
  domain: { name: "Salus Patient Account", chainId: 7251 },
  message: { hash: challenge },
};
const digest = hashTypedData(typedData);
const template = (value) => `<template data-signing>${JSON.stringify(value).replaceAll("&", "&amp;").replaceAll("<", "&lt;")}</template>`;
const calls = { kind: "calls", typed_data: typedData, digest };
const transaction = {
  kind: "transaction",
  from: account,
  to: account,
  data: "0x",
  value: "0",
  nonce: 0,
  chain_id: 7251,
  gas_limit: 21000,
  max_fee_per_gas: "7",
  max_priority_fee_per_gas: null,
  digest,
};

let count = 0;
let working = 1;
const pages = {
  "/": "<h1>In</h1>",
  "/there": "<h1>There</h1>",
  "/sign-in": `<div data-passkey-sign-in data-next="/there" hidden><button hidden>Sign in with a passkey</button></div>
    <div data-wallet-sign-in data-next="/there" hidden><p class="actions"><button type="button">Sign in with a wallet</button></p></div>`,
  "/new": `<form data-new-passkey data-account="${account}" data-name="Pat" action="/new-passkey"><button hidden>Make a passkey</button></form>`,
  "/sign-passkey": `<div data-sign data-step="0x07">${template(calls)}<p hidden><button type="button">Sign</button></p></div>`,
  "/sign-other": `<div data-sign data-step="0x07">${template({ ...calls, digest: challenge })}</div>`,
  "/sign-wallet": `<div data-sign data-step="0x07" data-by="wallet">${template(calls)}<p hidden><button>Sign</button></p></div>`,
  "/send": `<div data-sign data-step="0x07">${template(transaction)}<p hidden><button>Sign</button></p></div>`,
  "/live": () => `<main data-live="/events"><p id="count" data-live-part>${++count}</p><p id="typed" data-live-part><input value="${count}"></p></main>`,
  "/working": () => (working-- > 0 ? `<a href="/working" data-again>Look again</a>` : "<h1>Done</h1>"),
  "/soon": `<time data-countdown datetime="2020-01-01T00:00:00Z"></time>`,
};

const posted = {};
let tellChange;
let server, origin, browser;

before(async () => {
  server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname;
    const reply = (type, body, headers = {}) => response.writeHead(200, { "content-type": type, "content-security-policy": CSP, ...headers }).end(body);
    if (request.method === "GET") {
      if (path === "/assets/salus.js") return reply("text/javascript", script);
      if (path === "/events") {
        response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
        tellChange = () => response.write("event: changed\ndata:\n\n");
        return;
      }
      if (path === "/favicon.ico") return response.writeHead(204).end();
      const body = typeof pages[path] === "function" ? pages[path]() : pages[path];
      return reply("text/html", `<!doctype html><html lang="en"><head><meta name="salus-csrf" content="token"><title>T</title><script type="module" src="/assets/salus.js"></script></head><body>${body}</body></html>`);
    }
    let text = "";
    for await (const part of request) text += part;
    posted[path] = { headers: request.headers, body: JSON.parse(text) };
    const asked = { challenge: Buffer.from(challenge.slice(2), "hex").toString("base64url"), rpId: "localhost" };
    const answers = {
      "/sign-in/passkey/challenge": asked,
      "/sign-in/passkey/answer": { next: "/" },
      "/new-passkey": { next: "https://elsewhere.example/" },
      "/sign-in/wallet/challenge": { message: "localhost wants you to sign in" },
      "/sign-in/wallet/answer": { next: "/" },
      "/sign/0x07": { next: "/" },
    };
    reply("application/json", JSON.stringify(answers[path]));
  });
  await new Promise((resolve) => server.listen(0, "localhost", resolve));
  origin = `http://localhost:${server.address().port}`;
  browser = await launch();
});

after(async () => {
  await browser?.close();
  server.closeAllConnections();
  server.close();
});

const b64 = (hex) => Buffer.from(hex.replace(/^0x/, ""), "hex").toString("base64url");
const fromB64 = (text) => Buffer.from(text, "base64url");

/** Checks a signature over authenticator data and client data; gives the challenge that was signed. */
function checkSigned(publicKey, authenticatorData, clientData, signature, dsaEncoding) {
  const [x, y] = [publicKey.slice(2, 66), publicKey.slice(66)];
  const key = createPublicKey({ key: { kty: "EC", crv: "P-256", x: b64(x), y: b64(y) }, format: "jwk" });
  const signed = Buffer.concat([authenticatorData, createHash("sha256").update(clientData).digest()]);
  assert.ok(verify("sha256", signed, { key, dsaEncoding }, signature));
  const said = JSON.parse(clientData);
  assert.equal(said.type, "webauthn.get");
  assert.equal(said.origin, origin);
  return `0x${fromB64(said.challenge).toString("hex")}`;
}

/** Checks an assertion in the verifier's encoding as the verifier does; gives the challenge that was signed. */
function checkAssertion(publicKey, assertion) {
  const types = ["bytes32", "bytes32", "uint256", "uint256", "bytes", "string"].map((type) => ({ type }));
  const [r, s, challengeIndex, typeIndex, authenticatorData, clientData] = decodeAbiParameters(types, assertion);
  assert.ok(clientData.slice(Number(challengeIndex)).startsWith('"challenge":"'));
  assert.ok(clientData.slice(Number(typeIndex)).startsWith('"type":"webauthn.get"'));
  assert.ok(BigInt(s) <= 0x7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8n);
  const signature = Buffer.from(r.slice(2) + s.slice(2), "hex");
  return checkSigned(publicKey, Buffer.from(authenticatorData.slice(2), "hex"), clientData, signature, "ieee-p1363");
}

test("passkey is made, signs in and signs, and its secrets stay in the browser", async () => {
  const { context, page, requests, problems } = await visit(browser);
  const secrets = await keepSecrets(context);
  await addPasskeys(page);
  await page.goto(`${origin}/new`);
  await page.getByRole("button", { name: "Make a passkey" }).click();
  const sheet = await page.locator(".recovery-key").textContent();
  assert.match(sheet, /^(\S{4} ){13}\S{4}$/);
  assert.deepEqual(await axe(page), []);
  await page.getByRole("button", { name: "I have kept it" }).click();
  // The server sends to another site, where the script does not go.
  await page.getByText("where we do not go").waitFor();
  const made = posted["/new-passkey"].body;
  assert.equal(new Set(made.keys).size, 2);
  for (const key of made.keys) assert.match(key, /^0x0020[0-9a-f]{64}$/);

  await page.goto(`${origin}/sign-in`);
  await page.getByRole("button", { name: "Sign in with a passkey" }).click();
  await page.getByText("There", { exact: true }).waitFor();
  const { headers, body } = posted["/sign-in/passkey/answer"];
  assert.equal(headers["x-salus-csrf"], "token");
  assert.equal(headers["accept"], "application/json");
  assert.equal(fromB64(body.userHandle).toString("hex"), account.slice(2).toLowerCase());
  const signed = [fromB64(body.authenticatorData), fromB64(body.clientDataJSON), fromB64(body.signature)];
  assert.equal(checkSigned(made.publicKey, ...signed, "der"), challenge);

  await page.goto(`${origin}/sign-passkey`);
  await page.getByRole("button", { name: "Sign" }).click();
  await page.getByText("In", { exact: true }).waitFor();
  const { authorisation, ...rest } = posted["/sign/0x07"].body;
  assert.deepEqual(rest, { digest });
  assert.deepEqual(Object.keys(authorisation), ["signature"]);
  assert.equal(checkAssertion(made.publicKey, authorisation.signature), digest);

  // Made once, and asked twice: always the same. The printed key and the first challenge are random.
  assert.equal(secrets.length, 5);
  assert.equal(new Set(secrets).size, 3);
  assert.deepEqual(await leaks(requests, [...secrets, sheet]), []);
  assert.deepEqual(problems, []);
  await context.close();
});

test("request that has a secret is noticed, in whatever form", async () => {
  const secret = "a1".repeat(16);
  const bytes = Buffer.from(secret, "hex");
  for (const body of [secret, secret.toUpperCase(), bytes.toString("base64"), bytes.toString("base64url"), bytes]) {
    const request = { url: () => "http://x/", allHeaders: async () => ({}), postDataBuffer: () => Buffer.from(body) };
    assert.deepEqual(await leaks([request], [secret]), ["http://x/"]);
  }
});

test("passkey is not asked to sign something else than what is shown", async () => {
  const { context, page } = await visit(browser);
  await addPasskeys(page);
  delete posted["/sign/0x07"];
  await page.goto(`${origin}/sign-other`);
  await page.getByRole("button", { name: "Sign" }).click();
  await page.getByText("is not what is shown here").waitFor();
  assert.equal(posted["/sign/0x07"], undefined);
  await context.close();
});

test("wallet signs in, signs and sends", async () => {
  const { context, page, problems } = await visit(browser, { wallet: { privateKey, sends: "0xab" } });
  await page.goto(`${origin}/sign-in`);
  await page.getByRole("button", { name: "Sign in with a wallet: Test Wallet" }).click();
  await page.getByText("There", { exact: true }).waitFor();
  assert.equal(posted["/sign-in/wallet/challenge"].body.address, account);
  const { signature } = posted["/sign-in/wallet/answer"].body;
  assert.ok(await verifyMessage({ address: account, message: "localhost wants you to sign in", signature }));

  await page.goto(`${origin}/sign-wallet`);
  await page.getByRole("button", { name: "Sign: Test Wallet" }).click();
  await page.getByText("In", { exact: true }).waitFor();
  const { authorisation } = posted["/sign/0x07"].body;
  assert.equal(await recoverTypedDataAddress({ ...typedData, signature: authorisation.signature }), account);
  assert.equal(authorisation.signer, account);

  await page.goto(`${origin}/send`);
  await page.getByRole("button", { name: "Sign: Test Wallet" }).click();
  await page.getByText("In", { exact: true }).waitFor();
  assert.deepEqual(posted["/sign/0x07"].body, { digest, sent: "0xab" });
  assert.deepEqual(problems, []);
  await context.close();
});

test("whoever has no wallet is told so", async () => {
  const { context, page } = await visit(browser);
  await page.goto(`${origin}/sign-in`);
  await page.getByRole("button", { name: "Sign in with a wallet" }).click();
  await page.getByText("No wallet was found").waitFor();
  await context.close();
});

test("page changes when the server says so, but not where somebody types", async () => {
  const { context, page } = await visit(browser);
  await page.goto(`${origin}/live`);
  const shown = Number(await page.locator("#count").textContent());
  await page.locator("#typed input").fill("half a word");
  while (!tellChange) await new Promise((resolve) => setImmediate(resolve));
  tellChange();
  await page.locator("#count", { hasText: String(shown + 1) }).waitFor();
  assert.equal(await page.locator("#typed input").inputValue(), "half a word");
  await context.close();
});

test("page on which something is still being done is looked at again", async () => {
  const { context, page } = await visit(browser);
  await page.goto(`${origin}/working`);
  await page.getByText("Done").waitFor();
  await context.close();
});

test("countdown that is over says so", async () => {
  const { context, page } = await visit(browser);
  await page.goto(`${origin}/soon`);
  await page.getByText("0 s left").waitFor();
  await context.close();
});
