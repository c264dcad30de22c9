// A real browser for the tests: Debian's Chromium, with a passkey device and a wallet that really sign.

import { execFileSync, spawn } from "node:child_process";
import { createDecipheriv, scryptSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { createWalletClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const require = createRequire(import.meta.url);

/** The widths of a telephone and of a desk, in CSS pixels. */
export const WIDTHS = [390, 1440];
export const THEMES = ["light", "dark"];

export function launch() {
  return chromium.launch({
    executablePath: process.env.SALUS_CHROMIUM ?? "/usr/bin/chromium",
    // Tests run as root, in containers whose shared memory is small.
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
}

/** A visitor of their own: cookies, storage and passkeys are nobody else's. Every request is kept in `requests`. */
export async function visit(browser, { width = 1440, theme = "light", wallet, javaScript = true } = {}) {
  const context = await browser.newContext({
    viewport: { width, height: width < 800 ? 844 : 900 },
    colorScheme: theme,
    reducedMotion: "reduce",
    javaScriptEnabled: javaScript,
    locale: "en-IE",
    timezoneId: "Europe/Dublin",
  });
  const requests = [];
  const problems = [];
  context.on("request", (request) => requests.push(request));
  context.on("console", (message) => {
    if (message.type() === "error") problems.push(message.text());
  });
  context.on("weberror", (error) => problems.push(String(error.error())));
  if (wallet) await inject(context, wallet);
  const page = await context.newPage();
  return { context, page, requests, problems };
}

/** Adds a device with passkeys to a page: it is always there, knows its owner, and has a PRF. */
export async function addPasskeys(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("WebAuthn.enable");
  const { authenticatorId } = await session.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      ctap2Version: "ctap2_1",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
      hasPrf: true,
    },
  });
  return {
    credentials: async () => (await session.send("WebAuthn.getCredentials", { authenticatorId })).credentials,
    remove: () => session.send("WebAuthn.removeVirtualAuthenticator", { authenticatorId }),
  };
}

/** Keeps every PRF output that a page is given, as hexadecimal digits: what must never leave the browser. */
export async function keepSecrets(context) {
  const secrets = [];
  await context.exposeFunction("salusKeepSecret", (digits) => void secrets.push(digits));
  await context.addInitScript(() => {
    const keep = (bytes) => {
      const digits = Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
      // The frame's own function; the script under test does not know it.
      return window.salusKeepSecret(digits);
    };
    for (const name of ["create", "get"]) {
      const original = CredentialsContainer.prototype[name];
      CredentialsContainer.prototype[name] = async function (...options) {
        const credential = await original.apply(this, options);
        const first = credential?.getClientExtensionResults().prf?.results?.first;
        if (first) await keep(first);
        return credential;
      };
    }
    const random = crypto.getRandomValues.bind(crypto);
    crypto.getRandomValues = (array) => {
      random(array);
      if (array.byteLength === 32) void keep(array.buffer.slice(array.byteOffset, array.byteOffset + 32));
      return array;
    };
  });
  return secrets;
}

/**
 * The requests that have a secret in their address, headers or body. A secret is hexadecimal digits, looked for in any
 * usual form, or words, looked for with and without their spaces.
 */
export async function leaks(requests, secrets) {
  const forms = secrets.flatMap((secret) => {
    if (!/^([0-9a-f]{2})+$/.test(secret)) return [secret, secret.replaceAll(" ", "")];
    const bytes = Buffer.from(secret, "hex");
    const base64 = bytes.toString("base64").replace(/=+$/, "");
    return [secret, secret.toUpperCase(), base64, bytes.toString("base64url"), bytes.toString("latin1")];
  });
  const found = [];
  for (const request of requests) {
    const headers = JSON.stringify(await request.allHeaders());
    const body = request.postDataBuffer()?.toString("latin1") ?? "";
    const text = `${decodeURIComponent(request.url())}\n${headers}\n${body}`;
    if (forms.some((form) => text.includes(form))) found.push(request.url());
  }
  return found;
}

/**
 * Puts a wallet into every page of a context, announced as EIP-6963 says. Its key stays in this process. It sends to
 * the node at `rpc`; with `sends` it sends nothing and gives that hash.
 */
async function inject(context, { privateKey, rpc, sends, name = "Test Wallet" }) {
  const account = privateKeyToAccount(privateKey);
  const client = rpc && createWalletClient({ account, transport: http(rpc) });
  const answer = {
    eth_requestAccounts: () => [account.address],
    eth_accounts: () => [account.address],
    personal_sign: ([message]) => account.signMessage({ message: { raw: message } }),
    eth_signTypedData_v4: ([, text]) => {
      const { types, ...rest } = JSON.parse(text);
      delete types.EIP712Domain;
      return account.signTypedData({ types, ...rest });
    },
    eth_chainId: () => client?.request({ method: "eth_chainId" }) ?? "0x1",
    wallet_switchEthereumChain: () => null,
    eth_sendTransaction: async ([asked]) => {
      if (sends) return sends;
      const signed = await account.signTransaction({
        type: "eip1559",
        to: asked.to,
        data: asked.data,
        value: BigInt(asked.value ?? 0),
        nonce: Number(asked.nonce),
        gas: BigInt(asked.gas),
        maxFeePerGas: BigInt(asked.maxFeePerGas),
        maxPriorityFeePerGas: BigInt(asked.maxPriorityFeePerGas),
        chainId: Number(asked.chainId),
      });
      return client.request({ method: "eth_sendRawTransaction", params: [signed] });
    },
  };
  await context.exposeFunction("salusWallet", async ({ method, params }) => {
    if (!answer[method]) throw new Error(`the wallet does not know ${method}`);
    return answer[method](params);
  });
  await context.addInitScript((walletName) => {
    const provider = { request: (request) => window.salusWallet(request) };
    const info = { uuid: "6f1c3a52-6d1c-4d59-9a6e-6d8c2f1b7a10", name: walletName, icon: "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'/>", rdns: "example.wallet" };
    const announce = () =>
      window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
    window.addEventListener("eip6963:requestProvider", announce);
    announce();
  }, name);
}

/** What axe-core finds on a page, in words; nothing when it finds nothing. WCAG 2.2 AA and best practices. */
export async function axe(page) {
  await page.evaluate(require("axe-core").source);
  const { violations } = await page.evaluate(() =>
    window.axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    }),
  );
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${id}: ${help}: ${node.target.join(" ")}: ${node.failureSummary?.split("\n")[1]?.trim() ?? ""}`),
  );
}

/** Whether a page is wider than its window, which makes people scroll sideways. */
export function isTooWide(page) {
  return page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
}

/** The signing key of an institution of the demonstration, out of its keystore (Ethereum V3). */
export function keyOf(dir, institution) {
  const { crypto: sealed } = JSON.parse(readFileSync(join(dir, institution, "keystore.json"), "utf8"));
  const { n, r, p, dklen, salt } = sealed.kdfparams;
  const passphrase = readFileSync(join(dir, "passphrase"), "utf8").trim();
  const key = scryptSync(passphrase, Buffer.from(salt, "hex"), dklen, { N: n, r, p, maxmem: 256 * n * r });
  const cipher = createDecipheriv(sealed.cipher, key.subarray(0, 16), Buffer.from(sealed.cipherparams.iv, "hex"));
  return `0x${Buffer.concat([cipher.update(sealed.ciphertext, "hex"), cipher.final()]).toString("hex")}`;
}

/** The demonstration, served on free ports with a folder of its own. */
export async function startSalus(options = []) {
  const dir = mkdtempSync(join(tmpdir(), "salus-browser-"));
  const program = process.env.SALUS_PROGRAM ?? new URL("../../../../../target/debug/salus", import.meta.url).pathname;
  const child = spawn(
    program,
    ["--data", dir, "up", "--rpc", "127.0.0.1:0", "--fhir-port-base", "0", ...options],
    { env: { ...process.env, SALUS_LOG: "warn" }, stdio: ["ignore", "pipe", "inherit"] },
  );
  const lines = [];
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const ready = new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      lines.push(line);
      if (line.includes("stop with Ctrl-C")) resolve();
    });
    child.once("error", reject);
    ended.then((code) => reject(new Error(`salus up ended with ${code}:\n${lines.join("\n")}`)));
  });
  await ready;
  return {
    lines,
    dir,
    /** What a command prints that asks the demonstration. */
    command: (...words) => execFileSync(program, ["--data", dir, ...words], { encoding: "utf8" }).trim(),
    /** The address after a text in what it printed. */
    address(before) {
      const line = lines.find((line) => line.includes(before));
      const found = line && /https?:\/\/[^\s]+/.exec(line.slice(line.indexOf(before)));
      if (!found) throw new Error(`salus up printed no address for ${before}:\n${lines.join("\n")}`);
      return found[0].replace(/[.,;]$/, "");
    },
    async stop() {
      ready.catch(() => {});
      child.kill("SIGTERM");
      await ended;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
