// What is about to be signed, hashed here (EIP-712): a passkey signs a bare digest, so the browser makes it itself.

import { getSignPayload, type Definition } from "ox/TypedData";

import type { Hex } from "./bytes.ts";

export function digestOf(typedData: string): Hex {
  return getSignPayload(JSON.parse(typedData) as Definition);
}
