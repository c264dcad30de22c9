// The demonstration as its visitors see it.

import { THEMES, WIDTHS, axe, isTooWide } from "./harness.mjs";

/** Whom the demonstration says to sign in as, where, for each role. */
export function roles(salus) {
  const found = salus.lines.map((line) => /^\s+(\S.*?)\s+(http:\/\/[^/\s]+)\/sign-in\?as=(\S+)/.exec(line)).filter(Boolean);
  return found.map(([, role, origin, who]) => ({ role, origin, who }));
}

/** Signs in as somebody of the demonstration, by name. */
export async function signInAs(page, origin, who) {
  await page.goto(`${origin}/sign-in?as=${encodeURIComponent(who)}`);
  await page.getByRole("button", { name: who }).first().click();
  await page.waitForURL((url) => !url.pathname.startsWith("/sign-in"));
}

/** Signs what waits on "Check and sign" with the demonstration's button. */
export async function signAsDemonstration(page) {
  await page.waitForURL((url) => url.pathname.startsWith("/sign/"));
  await page.locator('form[action$="/demonstration"] button').click();
  await settled(page);
}

/** Waits until there is nothing more to sign or to wait for. */
export function settled(page) {
  return page.waitForURL((url) => !url.pathname.startsWith("/sign/"));
}

/** A path with its ids, names and parameters left out: pages of one kind have the same. */
const kindOf = (url) => url.pathname.replace(/\/([^/]*[0-9A-Z][^/]*)(?=\/|$)/g, "/…");

/**
 * Walks every kind of page that can be reached by links and is not among those `seen`, and looks at one of each at every
 * width, light and dark. Gives what is wrong with them, and where it was.
 */
export async function walk(page, start, seen) {
  const origin = new URL(start).origin;
  const waiting = [new URL(start)];
  seen.add(kindOf(waiting[0]));
  const [wrong, walked] = [[], []];
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    walked.push(next.pathname);
    const response = await page.goto(next.href);
    // Whoever is sent elsewhere has not seen it.
    if (new URL(page.url()).pathname !== next.pathname && next.href !== start) {
      seen.delete(kindOf(next));
      continue;
    }
    if (response.status() >= 400) wrong.push(`${next.pathname}: status ${response.status()}`);
    // Files are for programs.
    if (!response.headers()["content-type"]?.startsWith("text/html")) continue;
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: width < 800 ? 844 : 900 });
      for (const colorScheme of THEMES) {
        await page.emulateMedia({ colorScheme });
        const found = await axe(page);
        if (await isTooWide(page)) found.push("wider than its window");
        wrong.push(...found.map((text) => `${next.pathname} at ${width} px, ${colorScheme}: ${text}`));
      }
    }
    const links = await page.locator("a[href]").evaluateAll((found) => found.map((link) => link.href));
    for (const link of links.map((href) => new URL(href))) {
      if (link.origin !== origin || seen.has(kindOf(link)) || link.pathname.startsWith("/fhir")) continue;
      seen.add(kindOf(link));
      waiting.push(link);
    }
  }
  return { wrong, walked };
}
