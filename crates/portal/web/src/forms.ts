// What asking the server and telling people have in common.

import { words } from "./words.ts";

/** Says something to whoever is at it; screen readers hear it. */
export function say(place: HTMLElement, words: string, isProblem = false): void {
  let line = place.querySelector<HTMLElement>('[role="status"]');
  if (!line) {
    line = document.createElement("p");
    line.setAttribute("role", "status");
    place.append(line);
  }
  line.textContent = words;
  line.classList.toggle("problem", isProblem);
}

/** Does something at a place of the page: its buttons rest meanwhile, and what goes wrong is said there. */
export async function attempt(place: HTMLElement, work: () => Promise<void>): Promise<void> {
  rest(place, true);
  say(place, "");
  try {
    await work();
  } catch (error) {
    say(place, wordsOf(error), true);
  } finally {
    rest(place, false);
  }
}

/** Whether the buttons of a place can be pressed. */
export function rest(place: HTMLElement, isResting: boolean): void {
  for (const button of place.querySelectorAll("button")) {
    button.disabled = isResting;
    if (isResting) button.setAttribute("aria-busy", "true");
    else button.removeAttribute("aria-busy");
  }
}

function wordsOf(error: unknown): string {
  if (error instanceof DOMException && error.name === "NotAllowedError") {
    return words.notSigned;
  }
  // EIP-1193: the owner refused.
  if (typeof error === "object" && error !== null && "code" in error && error.code === 4001) {
    return words.walletNotSigned;
  }
  if (error instanceof TypeError) return words.unreachable;
  return error instanceof Error && error.message ? error.message : words.failed;
}

/** Posts JSON to a path of this site; gives what came back. */
export async function post<T>(path: string, body: unknown): Promise<T> {
  const headers: Record<string, string> = { accept: "application/json", "content-type": "application/json" };
  const token = document.querySelector<HTMLMetaElement>('meta[name="salus-csrf"]')?.content;
  if (token) headers["x-salus-csrf"] = token;
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), redirect: "error" });
  if (response.ok) return (await response.json()) as T;
  const answer = (await response.json().catch(() => ({}))) as { text?: string };
  throw new Error(answer.text ?? words.failed);
}

/** What the server says of where to go on. */
export interface Next {
  next: string;
}

/** Goes on to a page of this site, and to no other: to where the page was meant to lead, or where the server says. */
export function go({ next }: Next, meant?: string): void {
  const target = new URL(meant || next, location.href);
  if (target.origin !== location.origin) throw new Error(words.elsewhere);
  location.assign(target);
}

/** Makes a button as the design system has them. */
export function makeButton(label: string, look = ""): HTMLButtonElement {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
  if (look) button.className = look;
  return button;
}

/** Shows the button that the server wrote at a place for whoever has this script, or makes one. */
export function shownButton(place: HTMLElement, label: string): HTMLButtonElement {
  const written = place.querySelector("button");
  const button = written ?? makeButton(label);
  if (!written) place.append(button);
  for (let element: HTMLElement | null = button; element; element = element === place ? null : element.parentElement) {
    element.hidden = false;
  }
  return button;
}
