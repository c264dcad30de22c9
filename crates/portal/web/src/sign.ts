// "Check and sign": has a passkey or a wallet sign what the page shows, and brings the signature to the server.

import { encodeAssertion } from "./assertion.ts";
import { fromHex, type Hex } from "./bytes.ts";
import { attempt, go, post, say, shownButton, type Next } from "./forms.ts";
import { sign } from "./passkey.ts";
import { digestOf } from "./typed_data.ts";
import { accountOf, offerWallets, sendTransaction, signTypedData, type Transaction } from "./wallet.ts";
import { words } from "./words.ts";

/** What is to be signed, as `/api/steps` gives it. */
type Signing =
  | ({ kind: "transaction"; digest: Hex } & Transaction)
  | { kind: "calls"; digest: Hex; typed_data: unknown };

/** Of `<div data-sign data-step=ID>` with the JSON of what is to be signed in `<template data-signing>`. */
export function checkAndSign(place: HTMLElement): void {
  const text = place.querySelector<HTMLTemplateElement>("template[data-signing]")?.content.textContent;
  if (!text) return;
  const signing = JSON.parse(text) as Signing;
  if (signing.kind === "calls" && place.dataset["by"] !== "wallet") {
    shownButton(place, words.sign).addEventListener("click", (event) => {
      event.preventDefault();
      void attempt(place, () => withPasskey(place, signing.digest, JSON.stringify(signing.typed_data)));
    });
    return;
  }
  offerWallets(place, words.sign, async (wallet) => {
    const account = await accountOf(wallet);
    if (signing.kind === "transaction") {
      await bring(place, signing.digest, { sent: await sendTransaction(wallet, account, signing) });
    } else {
      const signature = await signTypedData(wallet, account, JSON.stringify(signing.typed_data));
      await bring(place, signing.digest, { authorisation: { signer: account, signature } });
    }
  });
}

async function withPasskey(place: HTMLElement, digest: Hex, typedData: string): Promise<void> {
  const own = digestOf(typedData);
  // A passkey shows nothing, so what is shown here and what it signs must be the same.
  if (own !== digest) throw new Error(words.notAsShown);
  const signed = await sign(fromHex(own), location.hostname);
  signed.prf?.fill(0);
  await bring(place, own, { authorisation: { signature: encodeAssertion(signed) } });
}

async function bring(place: HTMLElement, digest: Hex, answer: object): Promise<void> {
  say(place, words.signed);
  go(await post<Next>(`/sign/${place.dataset["step"]}`, { digest, ...answer }));
}
