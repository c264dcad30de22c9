// The key to which a patient's answers are sealed. It is made in the browser and never leaves it.
//
// A passkey's PRF output is the input keying material of DeriveKeyPair (RFC 9180, section 7.1.3), KEM X25519. A second
// key of the same kind is printed: 32 random bytes of input keying material as 14 groups of 4 letters and digits.

import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";

import { bigEndian, concat, toHex, utf8, type Bytes, type Hex } from "./bytes.ts";
import { words } from "./words.ts";

/** DHKEM(X25519, HKDF-SHA256) in RFC 9180's registry: `KEM id u16` before a public key, as `vault` writes it. */
export const KEM_ID = 0x0020;

export const suite = new CipherSuite({
  kem: new DhkemX25519HkdfSha256(),
  kdf: new HkdfSha256(),
  aead: new Aes256Gcm(),
});

/** A key pair, with the public half as the registry holds it. */
export interface SealingKey {
  secret: CryptoKey;
  /** `KEM id u16 | public key [32]`. */
  publicKey: Hex;
}

/** The input that a passkey's PRF is asked with: the SHA-256 of a label of ours. */
export async function prfInput(): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", utf8("salus/patient-sealing-key/v1")));
}

/** Derives the same pair from the same 32 bytes each time; wipes them. */
export async function deriveSealingKey(material: Bytes): Promise<SealingKey> {
  if (material.length !== 32) throw new Error("a key is made of 32 bytes");
  try {
    const pair = await suite.kem.deriveKeyPair(material.slice().buffer);
    const point = await suite.kem.serializePublicKey(pair.publicKey);
    const publicKey = toHex(concat(bigEndian(BigInt(KEM_ID), 2), new Uint8Array(point)));
    return { secret: pair.privateKey, publicKey };
  } finally {
    material.fill(0);
  }
}

/** Crockford's base 32: no I, L, O or U, which are read as something else. */
const LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CHECK_LEN = 3;

/** What stands on a recovery sheet for 32 bytes: they and a check of three bytes, so that a slip is noticed. */
export async function writeSheet(material: Bytes): Promise<string> {
  const bytes = concat(material, await check(material));
  let bits = BigInt(toHex(bytes));
  let text = "";
  for (let left = (bytes.length * 8) / 5; left > 0; left -= 1) {
    text = LETTERS[Number(bits & 31n)] + text;
    bits >>= 5n;
  }
  return text.replace(/(.{4})(?=.)/g, "$1 ");
}

/** Reads what was typed from a sheet, in any case and with any spaces. */
export async function readSheet(typed: string): Promise<Bytes> {
  const text = typed.toUpperCase().replace(/[\s-]/g, "").replace(/O/g, "0").replace(/[IL]/g, "1");
  const places = Array.from(text, (letter) => LETTERS.indexOf(letter));
  if (places.length !== 56 || places.some((place) => place < 0)) {
    throw new Error(words.sheetLength);
  }
  const bytes = bigEndian(places.reduce((bits, place) => (bits << 5n) | BigInt(place), 0n), 32 + CHECK_LEN);
  const material = bytes.slice(0, 32);
  const expected = await check(material);
  if (expected.some((byte, at) => byte !== bytes[32 + at])) {
    throw new Error(words.sheetSlip);
  }
  return material;
}

async function check(material: Bytes): Promise<Bytes> {
  const digest = await crypto.subtle.digest("SHA-256", concat(utf8("salus/recovery-sheet/v1"), material));
  return new Uint8Array(digest).slice(0, CHECK_LEN);
}
