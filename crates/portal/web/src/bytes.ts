// Bytes as the gateway and the chain write them: `0x` and hexadecimal digits.

export type Bytes = Uint8Array<ArrayBuffer>;
export type Hex = `0x${string}`;

export function toHex(bytes: ArrayBuffer | Uint8Array): Hex {
  const digits = Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0"));
  return `0x${digits.join("")}`;
}

export function fromHex(text: string): Bytes {
  const digits = text.startsWith("0x") ? text.slice(2) : text;
  if (digits.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(digits)) throw new Error("not hexadecimal digits");
  return Uint8Array.from({ length: digits.length / 2 }, (_, at) => Number.parseInt(digits.slice(2 * at, 2 * at + 2), 16));
}

/** Base 64 for addresses, without padding, as WebAuthn writes bytes in JSON. */
export function toBase64Url(bytes: ArrayBuffer | Uint8Array): string {
  const letters = String.fromCharCode(...new Uint8Array(bytes));
  return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

export function fromBase64Url(text: string): Bytes {
  const letters = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(letters, (letter) => letter.charCodeAt(0));
}

export function concat(...parts: Uint8Array[]): Bytes {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** A number as `length` bytes, the most significant first. */
export function bigEndian(value: bigint, length: number): Bytes {
  return fromHex(value.toString(16).padStart(2 * length, "0"));
}

export function utf8(text: string): Bytes {
  return new TextEncoder().encode(text) as Bytes;
}

/** 32 bytes that nobody can guess. */
export function randomBytes(): Bytes {
  return crypto.getRandomValues(new Uint8Array(32));
}
