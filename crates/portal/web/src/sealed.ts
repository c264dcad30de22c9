// Opens an answer that a gatekeeper sealed to the reader's key. The format is drawn in `vault::answer`:
//
//   1 u8 | KEM id u16 | encapsulated key [32] | segments of up to 64 KiB, each with a tag of 16 bytes
//   info "salus/answer/v1" | chain id u64 | registry [20];  aad 1 u8 for the last segment, else 0 | context

import { bigEndian, concat, fromHex, utf8, type Bytes, type Hex } from "./bytes.ts";
import { KEM_ID, suite } from "./keys.ts";
import { words } from "./words.ts";

const FORMAT = 1;
const ENCAPSULATED_LEN = 32;
const SEGMENT_LEN = 64 * 1024 + 16;

/** Where an answer belongs: one registry on one chain, and the digest of the query that was signed. */
export interface Place {
  chainId: bigint;
  registry: Hex;
  query: Hex;
}

export async function open(secret: CryptoKey, place: Place, sealed: Bytes): Promise<Bytes> {
  const bad = () => new Error(words.badAnswer);
  const head = 3 + ENCAPSULATED_LEN;
  if (sealed.length < head || sealed[0] !== FORMAT || ((sealed[1]! << 8) | sealed[2]!) !== KEM_ID) throw bad();
  const info = concat(utf8("salus/answer/v1"), bigEndian(place.chainId, 8), fromHex(place.registry));
  const context = fromHex(place.query);
  const recipient = await suite
    .createRecipientContext({ recipientKey: secret, enc: sealed.slice(3, head), info })
    .catch(() => {
      throw bad();
    });
  const opened: Bytes[] = [];
  let at = head;
  do {
    const segment = sealed.slice(at, at + SEGMENT_LEN);
    at += segment.length;
    const isLast = at === sealed.length;
    const aad = concat(Uint8Array.of(isLast ? 1 : 0), context);
    const plain = await recipient.open(segment, aad).catch(() => {
      throw bad();
    });
    opened.push(new Uint8Array(plain));
  } while (at < sealed.length);
  return concat(...opened);
}
