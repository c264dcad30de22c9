// Live pages: when the server says that something changed, the page is fetched again, and what differs is put in its
// place. Where somebody types or a part is opened, nothing moves.

/** How long to wait for more changes before the page is fetched, in milliseconds. */
const CALM_MS = 300;

export function live(element: HTMLElement): void {
  const path = element.dataset["live"];
  if (!path) return;
  const source = new EventSource(path);
  let waiting = 0;
  const changed = () => {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(() => void refresh(), CALM_MS);
  };
  source.addEventListener("changed", changed);
  source.addEventListener("message", changed);
  window.addEventListener("pagehide", () => source.close());
}

/** Fetches this page again and replaces the parts that differ. */
export async function refresh(): Promise<void> {
  const response = await fetch(location.href, { headers: { "x-live": "1" } }).catch(() => undefined);
  // Whoever was signed out in the meantime finds out with the next page.
  if (!response?.ok || response.redirected) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of document.querySelectorAll<HTMLElement>("[data-live-part][id]")) {
    const next = fresh.getElementById(part.id);
    if (next && next.innerHTML !== part.innerHTML && !isInUse(part)) part.replaceChildren(...next.childNodes);
  }
}

function isInUse(part: HTMLElement): boolean {
  return part.contains(document.activeElement) || part.querySelector("dialog[open], details[open]") !== null;
}
