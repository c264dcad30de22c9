// Records that open on this device only: the question is signed with the passkey, the answer comes sealed to its key.

import { keccak256 } from "ox/Hash";

import { encodeAssertion } from "./assertion.ts";
import { fromBase64Url, fromHex, randomBytes, type Hex } from "./bytes.ts";
import { attempt, post, say, shownButton } from "./forms.ts";
import { deriveSealingKey, readSheet, type SealingKey } from "./keys.ts";
import { sign } from "./passkey.ts";
import { open } from "./sealed.ts";
import { digestOf } from "./typed_data.ts";
import { words } from "./words.ts";

/** The question, as the gateway puts it. */
interface Asked {
  /** `ReadRecords`; its `recipientKey` is the digest of the reader's public key. */
  query: { domain: { chainId: number; verifyingContract: Hex }; message: { recipientKey: Hex } };
  /** What the account's signer signs under the query's digest (ERC-1271). */
  message: { message: { hash: Hex } };
}

interface Served {
  records: { record: Hex; kind: string; body: unknown }[];
  more: boolean;
}

/** Of `<form data-sealed=ID action=PATH>`: what opens is shown in the element with that id. */
export function sealedAnswer(form: HTMLFormElement): void {
  const place = document.getElementById(form.dataset["sealed"] ?? "") ?? form;
  const button = shownButton(form, words.openHere);
  let after: Hex | null = null;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void attempt(form, async () => {
      const served = await ask(form, after);
      if (after === null) place.replaceChildren();
      place.append(...served.records.map(shown));
      say(form, words.opened(place.childElementCount));
      after = (served.more && served.records.at(-1)?.record) || null;
      button.textContent = after ? words.openMore : words.openHere;
    });
  });
}

async function ask(form: HTMLFormElement, after: Hex | null): Promise<Served> {
  const path = new URL(form.action).pathname;
  const key = await ownKey(form);
  const asked = await post<Asked>(`${path}/question`, { publicKey: key.publicKey, after });
  const query = digestOf(JSON.stringify(asked.query));
  if (asked.message.message.hash !== query) throw new Error(words.notAsShown);
  // An answer to another's key is for somebody else to read.
  if (keccak256(key.publicKey) !== asked.query.message.recipientKey) throw new Error(words.otherKey);
  const signed = await sign(fromHex(digestOf(JSON.stringify(asked.message))), location.hostname);
  signed.prf?.fill(0);
  const answer = { message: asked.query.message, publicKey: key.publicKey, assertion: encodeAssertion(signed) };
  const { sealed } = await post<{ sealed: string }>(`${path}/answer`, answer);
  const { chainId, verifyingContract } = asked.query.domain;
  const opened = await open(key.secret, { chainId: BigInt(chainId), registry: verifyingContract, query }, fromBase64Url(sealed));
  return JSON.parse(new TextDecoder().decode(opened)) as Served;
}

/** The reader's key: typed from the recovery sheet, or made of the passkey's PRF output. It lasts for one answer. */
async function ownKey(form: HTMLFormElement): Promise<SealingKey> {
  const typed = form.querySelector<HTMLInputElement>("input[data-recovery-key]")?.value.trim();
  if (typed) return deriveSealingKey(await readSheet(typed));
  // Nobody is told of this signature; it is made for the PRF output that comes with it.
  const { prf } = await sign(randomBytes(), location.hostname);
  if (!prf) throw new Error(words.noKey);
  return deriveSealingKey(prf);
}

/** Writes a record as text; it is somebody else's, and none of it is taken for HTML. */
function shown({ kind, body }: Served["records"][number]): HTMLElement {
  const part = document.createElement("details");
  const title = document.createElement("summary");
  const { resourceType, id } = (body ?? {}) as { resourceType?: string; id?: string };
  title.textContent = [resourceType ?? kind, id].filter(Boolean).join(" ");
  const text = document.createElement("pre");
  text.tabIndex = 0;
  text.textContent = typeof body === "string" ? body : JSON.stringify(body, null, 2);
  part.append(title, text);
  return part;
}
