// Making a passkey, its sealing key and the printed second key; only their public halves go to the server.

import { fromHex, randomBytes } from "./bytes.ts";
import { attempt, go, makeButton, post, shownButton, type Next } from "./forms.ts";
import { deriveSealingKey, writeSheet, type SealingKey } from "./keys.ts";
import { create, sign } from "./passkey.ts";
import { words } from "./words.ts";

/**
 * Of `<form data-new-passkey action=PATH data-account=ADDRESS data-name=NAME>`. Nothing attests who made the passkey, so
 * its challenge is nobody's business; what counts is what signs for it.
 */
export function newPasskey(form: HTMLFormElement): void {
  const { account, name } = form.dataset;
  shownButton(form, words.makePasskey);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void attempt(form, async () => {
      const owner = { id: fromHex(account ?? ""), name: name ?? "", displayName: name ?? "" };
      const made = await create({ id: location.hostname, name: "Salus" }, owner);
      // Some passkeys give their PRF output only when they sign.
      const prf = made.prf ?? (await sign(randomBytes(), location.hostname, made.credential)).prf;
      const keys = [...(prf ? [await deriveSealingKey(prf)] : []), await printedKey()];
      const answer = { publicKey: `${made.x}${made.y.slice(2)}`, keys: keys.map((key) => key.publicKey) };
      go(await post<Next>(new URL(form.action).pathname, answer));
    });
  });
}

/** Makes the key of the recovery sheet, shows it, and waits until its owner says that it is kept. */
async function printedKey(): Promise<SealingKey> {
  const material = randomBytes();
  const sheet = await writeSheet(material);
  const key = await deriveSealingKey(material);

  const dialog = Object.assign(document.createElement("dialog"), { className: "recovery-sheet" });
  dialog.setAttribute("aria-labelledby", "recovery-title");
  const title = document.createElement("h2");
  title.id = "recovery-title";
  title.textContent = words.sheetTitle;
  const text = document.createElement("p");
  text.textContent = words.sheetText;
  const code = document.createElement("p");
  code.className = "recovery-key";
  code.textContent = sheet;
  const print = makeButton(words.print, "secondary");
  print.addEventListener("click", () => window.print());
  const kept = makeButton(words.kept);
  dialog.append(title, text, code, print, kept);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve, reject) => {
    kept.addEventListener("click", () => {
      resolve(key);
      dialog.close();
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      reject(new Error(words.notKept));
    });
  });
}
