// Passkeys: made, and asked to sign. The PRF output, of which the sealing key is made, stays in this page.

import { readPublicKey, type Assertion } from "./assertion.ts";
import { randomBytes, type Bytes, type Hex } from "./bytes.ts";
import { prfInput } from "./keys.ts";
import { words } from "./words.ts";

/** Long enough to look for a telephone. */
const TIMEOUT_MS = 120_000;

/** ES256: ECDSA with P-256 and SHA-256, which the chain can check (COSE, RFC 9053). */
const ES256 = -7;

/** A passkey that was made. */
export interface Made {
  credential: Bytes;
  x: Hex;
  y: Hex;
  /** 32 bytes that only this passkey can give again; none when it has no PRF. */
  prf: Bytes | undefined;
}

/** What a passkey signed. */
export interface Signed extends Assertion {
  credential: Bytes;
  /** The handle that the passkey was made with. */
  userHandle: Bytes | undefined;
  prf: Bytes | undefined;
}

export interface Owner {
  id: Bytes;
  name: string;
  displayName: string;
}

export async function create(rp: { id: string; name: string }, user: Owner): Promise<Made> {
  const credential = (await navigator.credentials.create({
    publicKey: {
      challenge: randomBytes(),
      rp,
      user,
      pubKeyCredParams: [{ type: "public-key", alg: ES256 }],
      authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "required" },
      attestation: "none",
      timeout: TIMEOUT_MS,
      extensions: { prf: { eval: { first: await prfInput() } } },
    },
  })) as PublicKeyCredential | null;
  const response = credential?.response as AuthenticatorAttestationResponse | undefined;
  const publicKey = response?.getPublicKey();
  if (!credential || !response || !publicKey) throw new Error(words.unusablePasskey);
  return {
    credential: new Uint8Array(credential.rawId),
    ...readPublicKey(new Uint8Array(publicKey)),
    prf: prfOf(credential),
  };
}

/** Asks for a signature of `challenge`; of any passkey for this place, unless `credential` names one. */
export async function sign(challenge: Bytes, rpId: string, credential?: Bytes): Promise<Signed> {
  const found = (await navigator.credentials.get({
    publicKey: {
      challenge,
      rpId,
      allowCredentials: credential ? [{ type: "public-key", id: credential }] : [],
      userVerification: "required",
      timeout: TIMEOUT_MS,
      extensions: { prf: { eval: { first: await prfInput() } } },
    },
  })) as PublicKeyCredential | null;
  if (!found) throw new Error(words.noPasskeyChosen);
  const response = found.response as AuthenticatorAssertionResponse;
  return {
    credential: new Uint8Array(found.rawId),
    userHandle: response.userHandle ? new Uint8Array(response.userHandle) : undefined,
    authenticatorData: new Uint8Array(response.authenticatorData),
    clientData: new Uint8Array(response.clientDataJSON),
    signature: new Uint8Array(response.signature),
    prf: prfOf(found),
  };
}

function prfOf(credential: PublicKeyCredential): Bytes | undefined {
  const first = credential.getClientExtensionResults().prf?.results?.first;
  // A copy, so that wiping it wipes what is used.
  return first === undefined ? undefined : new Uint8Array(first as ArrayBuffer).slice();
}
