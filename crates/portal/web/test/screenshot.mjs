// Screenshots of pages at the widths of a telephone and a desk, light and dark, with what axe-core says of each.
//
//   node test/screenshot.mjs [--cookie NAME=VALUE] [--as NAME] OUT-FOLDER URL…
//
// `--as NAME` signs in as somebody of the demonstration first.

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { signInAs } from "./browser/demonstration.mjs";
import { THEMES, WIDTHS, axe, isTooWide, launch, visit } from "./browser/harness.mjs";

const words = process.argv.slice(2);
const option = (name) => {
  const at = words.indexOf(name);
  return at < 0 ? undefined : words.splice(at, 2)[1];
};
const [cookie, who] = [option("--cookie"), option("--as")];
const [out, ...urls] = words;
if (!out || urls.length === 0) {
  console.error("usage: node test/screenshot.mjs [--cookie NAME=VALUE] [--as NAME] OUT-FOLDER URL…");
  process.exit(2);
}
mkdirSync(out, { recursive: true });
const browser = await launch();
for (const width of WIDTHS) {
  for (const theme of THEMES) {
    const { context, page, problems } = await visit(browser, { width, theme });
    if (cookie) {
      const [name, ...value] = cookie.split("=");
      await context.addCookies([{ name, value: value.join("="), url: urls[0] }]);
    }
    if (who) await signInAs(page, new URL(urls[0]).origin, who);
    for (const url of urls) {
      await page.goto(url);
      const name = `${new URL(url).pathname.replaceAll("/", "_").replace(/^_/, "") || "home"}-${width}-${theme}.png`;
      await page.screenshot({ path: join(out, name), fullPage: true });
      const found = await axe(page);
      if (await isTooWide(page)) found.push("the page is wider than its window");
      console.log(join(out, name), page.url() === url ? "" : `(now at ${page.url()})`, found.length === 0 ? "ok" : `\n  ${found.join("\n  ")}`);
    }
    for (const problem of problems) console.log("  console:", problem);
    await context.close();
  }
}
await browser.close();
