// The script against what the Rust side makes: crates/gatekeeper/tests/browser.rs writes vectors.json.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { encodeAssertion, readPublicKey } from "../src/assertion.ts";
import { bigEndian, concat, fromHex, toHex, type Bytes, type Hex } from "../src/bytes.ts";
import { deriveSealingKey, readSheet, writeSheet } from "../src/keys.ts";
import { open, type Place } from "../src/sealed.ts";
import { digestOf } from "../src/typed_data.ts";

// Bundled into node_modules/.unit, two folders below.
const vectors = JSON.parse(readFileSync(new URL("../../test/vectors.json", import.meta.url), "utf8"));
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** A signature as an authenticator gives it. */
function der(r: bigint, s: bigint): Bytes {
  const integer = (value: bigint) => {
    let bytes = bigEndian(value, 32);
    while (bytes.length > 1 && bytes[0] === 0 && bytes[1]! < 0x80) bytes = bytes.slice(1);
    if (bytes[0]! >= 0x80) bytes = concat(Uint8Array.of(0), bytes);
    return concat(Uint8Array.of(2, bytes.length), bytes);
  };
  const body = concat(integer(r), integer(s));
  return concat(Uint8Array.of(0x30, body.length), body);
}

const { passkey } = vectors;
const parts = {
  authenticatorData: fromHex(passkey.authenticator_data),
  clientData: new TextEncoder().encode(passkey.client_data),
};
const [r, s] = [BigInt(passkey.r), BigInt(passkey.s)];

test("assertion is encoded as the chain's verifier takes it", () => {
  assert.equal(encodeAssertion({ ...parts, signature: der(r, s) }), passkey.assertion);
});

test("upper half of s is brought down", () => {
  assert.equal(encodeAssertion({ ...parts, signature: der(r, ORDER - s) }), passkey.assertion);
});

test("signatures that are none are refused", () => {
  const good = der(r, s);
  const bad = [good.slice(0, -1), concat(good, Uint8Array.of(0)), concat(Uint8Array.of(0x31), good.slice(1)), der(0n, s), der(r, ORDER)];
  for (const signature of bad) assert.throws(() => encodeAssertion({ ...parts, signature }));
});

test("places in the client data are counted in bytes", () => {
  const text = `{"über":"é","type":"webauthn.get","challenge":"x"}`;
  const encoded = encodeAssertion({ ...parts, clientData: new TextEncoder().encode(text), signature: der(r, s) });
  const word = (at: number) => BigInt(`0x${encoded.slice(2 + 64 * at, 2 + 64 * (at + 1))}`);
  const bytes = Buffer.from(text);
  assert.equal(word(2), BigInt(bytes.indexOf('"challenge"')));
  assert.equal(word(3), BigInt(bytes.indexOf('"type"')));
});

test("public key comes out of its envelope", async () => {
  const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
  const point = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
  const { x, y } = readPublicKey(new Uint8Array(await crypto.subtle.exportKey("spki", pair.publicKey)));
  assert.equal(x + y.slice(2), toHex(point.slice(1)));
  const other = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-384" }, true, ["sign", "verify"]);
  const spki = new Uint8Array(await crypto.subtle.exportKey("spki", other.publicKey));
  assert.throws(() => readPublicKey(spki));
});

test("typed data has the digests of the other side", () => {
  assert.equal(digestOf(JSON.stringify(vectors.batch.typed_data)), vectors.batch.digest);
  assert.equal(digestOf(JSON.stringify(vectors.query.typed_data)), vectors.query.digest);
  assert.equal(digestOf(JSON.stringify(vectors.query.message_typed_data)), vectors.query.message_digest);
});

test("changed typed data has another digest", () => {
  const changed = structuredClone(vectors.batch.typed_data);
  changed.message.calls[0].data = "0x00";
  assert.notEqual(digestOf(JSON.stringify(changed)), vectors.batch.digest);
});

interface Sealed {
  material: Hex;
  public_key: Hex;
  chain_id: number;
  registry: Hex;
  query: Hex;
  length: number;
  sealed: Hex;
}

const place = ({ chain_id, registry, query }: Sealed): Place => ({ chainId: BigInt(chain_id), registry, query });
const key = ({ material }: Sealed) => deriveSealingKey(fromHex(material));

for (const vector of vectors.sealed as Sealed[]) {
  test(`sealed answer of ${vector.length} bytes opens`, async () => {
    const { secret, publicKey } = await key(vector);
    assert.equal(publicKey, vector.public_key);
    const opened = await open(secret, place(vector), fromHex(vector.sealed));
    assert.equal(opened.length, vector.length);
    assert.ok(opened.every((byte, at) => byte === at % 251));
  });

  test(`sealed answer of ${vector.length} bytes serves nobody else and cannot be changed`, async () => {
    const { secret } = await key(vector);
    const other = (await deriveSealingKey(new Uint8Array(32).fill(9) as Bytes)).secret;
    const sealed = fromHex(vector.sealed);
    const here = place(vector);
    await assert.rejects(open(other, here, sealed));
    await assert.rejects(open(secret, { ...here, chainId: here.chainId + 1n }, sealed));
    await assert.rejects(open(secret, { ...here, registry: `0x${"00".repeat(20)}` }, sealed));
    await assert.rejects(open(secret, { ...here, query: `0x${"00".repeat(32)}` }, sealed));
    for (const at of [0, 1, 2, 3, 34, 35, sealed.length - 1]) {
      const changed = sealed.slice();
      changed[at]! ^= 1;
      await assert.rejects(open(secret, here, changed), `byte ${at}`);
    }
    for (const length of [0, 2, 34, 35, sealed.length - 1]) {
      await assert.rejects(open(secret, here, sealed.slice(0, length)), `${length} bytes`);
    }
  });
}

test("material of a key is wiped", async () => {
  const material = new Uint8Array(32).fill(7) as Bytes;
  await deriveSealingKey(material);
  assert.ok(material.every((byte) => byte === 0));
});

test("recovery sheet comes back, however it is typed", async () => {
  const material = crypto.getRandomValues(new Uint8Array(32)) as Bytes;
  const sheet = await writeSheet(material);
  assert.match(sheet, /^([0-9A-HJKMNP-TV-Z]{4} ){13}[0-9A-HJKMNP-TV-Z]{4}$/);
  for (const typed of [sheet, sheet.toLowerCase(), sheet.replaceAll(" ", "-"), sheet.replaceAll("0", "O").replaceAll("1", "l")]) {
    assert.deepEqual(await readSheet(typed), material);
  }
});

test("slip in a recovery sheet is noticed", async () => {
  const sheet = await writeSheet(new Uint8Array(32).fill(0xa5) as Bytes);
  for (let at = 0; at < sheet.length; at += 1) {
    if (sheet[at] === " ") continue;
    const slipped = sheet.slice(0, at) + (sheet[at] === "7" ? "8" : "7") + sheet.slice(at + 1);
    await assert.rejects(readSheet(slipped), `place ${at}`);
  }
  await assert.rejects(readSheet(sheet.slice(0, -1)));
  await assert.rejects(readSheet(`${sheet}U`));
});
