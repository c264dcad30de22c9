// The portal's script. Pages are complete without it; it adds passkeys, wallets, sealed answers and live changes to what
// the server wrote, found by its `data-` attributes. What comes from elsewhere it writes as text, never as HTML.

import { live } from "./live.ts";
import { newPasskey } from "./new_passkey.ts";
import { sealedAnswer } from "./sealed_answer.ts";
import { checkAndSign } from "./sign.ts";
import { passkeySignIn, walletSignIn } from "./sign_in.ts";
import { again, countdown, sendOnce } from "./small.ts";

function each<E extends HTMLElement>(selector: string, work: (element: E) => void): void {
  document.querySelectorAll<E>(selector).forEach(work);
}

each("[data-passkey-sign-in]", passkeySignIn);
each("[data-wallet-sign-in]", walletSignIn);
each("form[data-new-passkey]", newPasskey);
each("[data-sign]", checkAndSign);
each("form[data-sealed]", sealedAnswer);
each("form:not([data-new-passkey], [data-sealed])", sendOnce);
each("a[data-again]", again);
each("time[data-countdown]", countdown);
each<HTMLButtonElement>("button[data-print]", (button) => {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
});
each("[data-live]", live);
