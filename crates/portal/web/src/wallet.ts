// Wallets in this browser: found as EIP-6963 says, asked as EIP-1193 says. They show what they sign, and keep the key.

import { toHex, utf8, type Hex } from "./bytes.ts";
import { attempt, makeButton, say, shownButton } from "./forms.ts";
import { words } from "./words.ts";

/** EIP-1193. */
export interface Provider {
  request(request: { method: string; params?: unknown }): Promise<unknown>;
}

/** EIP-6963. */
export interface Wallet {
  info: { uuid: string; name: string; icon: string; rdns: string };
  provider: Provider;
}

/**
 * Puts a button for each wallet at a place of the page, as each announces itself. The button that the server wrote
 * there says what it is for, and goes.
 */
export function offerWallets(place: HTMLElement, label: string, work: (wallet: Wallet) => Promise<void>): void {
  const written = shownButton(place, label);
  const seen = new Set<string>();
  window.addEventListener("eip6963:announceProvider", (event) => {
    const wallet = (event as CustomEvent<Wallet>).detail;
    const { uuid, name, icon } = wallet.info;
    if (seen.has(uuid)) return;
    seen.add(uuid);
    const button = makeButton(`${written.textContent}: ${name}`, written.className);
    // Wallets bring their icon as a data URI; nothing is fetched for it.
    if (icon.startsWith("data:image/")) {
      const picture = Object.assign(document.createElement("img"), { src: icon, alt: "", width: 24, height: 24 });
      button.prepend(picture);
    }
    button.addEventListener("click", () => void attempt(place, () => work(wallet)));
    written.before(button);
    written.hidden = true;
  });
  written.addEventListener("click", () => {
    say(place, words.noWallet, true);
  });
  window.dispatchEvent(new Event("eip6963:requestProvider"));
}

/** The address that the wallet acts as here; asks its owner when this page is new to it. */
export async function accountOf({ provider }: Wallet): Promise<Hex> {
  const accounts = (await provider.request({ method: "eth_requestAccounts" })) as Hex[];
  const [account] = accounts;
  if (!account) throw new Error(words.noWalletAccount);
  return account;
}

/** Signs words that the owner reads (EIP-191), such as those of EIP-4361. */
export async function signWords({ provider }: Wallet, account: Hex, words: string): Promise<Hex> {
  return (await provider.request({ method: "personal_sign", params: [toHex(utf8(words)), account] })) as Hex;
}

/** Signs typed data (EIP-712). */
export async function signTypedData({ provider }: Wallet, account: Hex, typedData: string): Promise<Hex> {
  return (await provider.request({ method: "eth_signTypedData_v4", params: [account, typedData] })) as Hex;
}

/** A transaction as `/api/steps` gives it. */
export interface Transaction {
  from: Hex;
  to: Hex;
  data: Hex;
  value: string;
  nonce: number;
  chain_id: number;
  gas_limit: number;
  max_fee_per_gas: string;
  max_priority_fee_per_gas: string | null;
}

/** Has the wallet sign and send a transaction; gives its hash. */
export async function sendTransaction({ provider }: Wallet, account: Hex, asked: Transaction): Promise<Hex> {
  if (asked.from.toLowerCase() !== account.toLowerCase()) {
    throw new Error(`${words.otherAccount} ${asked.from}`);
  }
  const quantity = (value: string | number) => `0x${BigInt(value).toString(16)}`;
  const chainId = quantity(asked.chain_id);
  if (BigInt((await provider.request({ method: "eth_chainId" })) as Hex) !== BigInt(chainId)) {
    await provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId }] });
  }
  const transaction = {
    from: account,
    to: asked.to,
    data: asked.data,
    value: quantity(asked.value),
    nonce: quantity(asked.nonce),
    gas: quantity(asked.gas_limit),
    maxFeePerGas: quantity(asked.max_fee_per_gas),
    maxPriorityFeePerGas: quantity(asked.max_priority_fee_per_gas ?? 0),
    chainId,
  };
  return (await provider.request({ method: "eth_sendTransaction", params: [transaction] })) as Hex;
}
