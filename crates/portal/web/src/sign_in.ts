// Signing in, with a passkey or a wallet.

import { fromBase64Url, toBase64Url } from "./bytes.ts";
import { attempt, go, post, shownButton, type Next } from "./forms.ts";
import { sign } from "./passkey.ts";
import { accountOf, offerWallets, signWords } from "./wallet.ts";
import { words } from "./words.ts";

export function passkeySignIn(place: HTMLElement): void {
  shownButton(place, words.signIn).addEventListener("click", (event) => {
    event.preventDefault();
    void attempt(place, async () => {
      const asked = await post<{ challenge: string; rpId: string }>("/sign-in/passkey/challenge", {});
      const signed = await sign(fromBase64Url(asked.challenge), asked.rpId);
      signed.prf?.fill(0);
      if (!signed.userHandle) throw new Error(words.nameless);
      const answer = {
        userHandle: toBase64Url(signed.userHandle),
        authenticatorData: toBase64Url(signed.authenticatorData),
        clientDataJSON: toBase64Url(signed.clientData),
        signature: toBase64Url(signed.signature),
      };
      go(await post<Next>("/sign-in/passkey/answer", answer), place.dataset["next"]);
    });
  });
}

export function walletSignIn(place: HTMLElement): void {
  offerWallets(place, words.signIn, async (wallet) => {
    const address = await accountOf(wallet);
    const { message } = await post<{ message: string }>("/sign-in/wallet/challenge", { address });
    const signature = await signWords(wallet, address, message);
    go(await post<Next>("/sign-in/wallet/answer", { signature }), place.dataset["next"]);
  });
}
