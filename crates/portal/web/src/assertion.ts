// A WebAuthn assertion as the chain's verifier takes it.
//
// Flat ABI encoding: r bytes32, s bytes32, challenge index, type index, authenticator data bytes, client data string.
// Source: OpenZeppelin's ERC7913WebAuthnVerifier and WebAuthn.sol.

import { encode } from "ox/AbiParameters";

import { bigEndian, fromHex, toHex, type Hex } from "./bytes.ts";

/** The order of P-256. The verifier refuses the upper half of `s`, which authenticators do not avoid. */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** What an authenticator gives: `AuthenticatorAssertionResponse`, in parts. */
export interface Assertion {
  authenticatorData: Uint8Array;
  clientData: Uint8Array;
  /** ASN.1 DER. */
  signature: Uint8Array;
}

const PARAMETERS = [
  { type: "bytes32" },
  { type: "bytes32" },
  { type: "uint256" },
  { type: "uint256" },
  { type: "bytes" },
  { type: "string" },
] as const;

export function encodeAssertion({ authenticatorData, clientData, signature }: Assertion): Hex {
  const [r, s] = readSignature(signature);
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(clientData);
  const index = (key: string) => {
    const at = text.indexOf(key);
    if (at < 0) throw new Error("the authenticator's answer names no challenge");
    // The verifier counts bytes.
    return BigInt(new TextEncoder().encode(text.slice(0, at)).length);
  };
  return encode(PARAMETERS, [
    toHex(bigEndian(r, 32)),
    toHex(bigEndian(s > ORDER / 2n ? ORDER - s : s, 32)),
    index('"challenge"'),
    index('"type"'),
    toHex(authenticatorData),
    text,
  ]);
}

/** `r` and `s` of an ECDSA signature in DER: SEQUENCE { INTEGER, INTEGER }. */
function readSignature(der: Uint8Array): [bigint, bigint] {
  const bad = () => new Error("the authenticator's signature cannot be read");
  // 72 bytes at most, so lengths take one byte.
  if (der[0] !== 0x30 || der[1] !== der.length - 2) throw bad();
  let at = 2;
  const integer = (): bigint => {
    const length = der[at + 1];
    if (der[at] !== 0x02 || length === undefined || length === 0 || at + 2 + length > der.length) throw bad();
    const value = BigInt(toHex(der.subarray(at + 2, at + 2 + length)));
    at += 2 + length;
    if (value <= 0n || value >= ORDER) throw bad();
    return value;
  };
  const pair: [bigint, bigint] = [integer(), integer()];
  if (at !== der.length) throw bad();
  return pair;
}

/** The two coordinates of a passkey's public key, out of SubjectPublicKeyInfo in DER. */
export function readPublicKey(der: Uint8Array): { x: Hex; y: Hex } {
  // id-ecPublicKey, prime256v1, and an uncompressed point: always these 27 bytes (RFC 5480).
  const head = fromHex("3059301306072a8648ce3d020106082a8648ce3d03010703420004");
  if (der.length !== head.length + 64 || head.some((byte, at) => der[at] !== byte)) {
    throw new Error("this passkey's key is of another kind; ES256 is needed");
  }
  const point = der.subarray(head.length);
  return { x: toHex(point.subarray(0, 32)), y: toHex(point.subarray(32)) };
}
