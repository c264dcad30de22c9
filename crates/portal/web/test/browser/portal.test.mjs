// The portal of the demonstration, as its people use it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { roles, settled, signAsDemonstration, signInAs, walk } from "./demonstration.mjs";
import { addPasskeys, axe, keepSecrets, keyOf, launch, leaks, startSalus, visit } from "./harness.mjs";

let salus, browser, people, hospital;

before(async () => {
  [salus, browser] = await Promise.all([startSalus(), launch()]);
  people = roles(salus);
  hospital = people.find(({ role }) => role === "patient").origin;
});

after(async () => {
  await browser?.close();
  await salus?.stop();
});

test("pages are accessible and fit, for everybody, on a telephone and a desk, light and dark", async () => {
  assert.ok(people.length >= 10, "the demonstration prints one address for each role");
  const everybody = [{ role: "visitor", origin: hospital }, ...people];
  const wrong = [];
  // Pages of one kind are the same for everybody who may see them.
  const seen = new Set();
  for (const { role, origin, who } of everybody) {
    const { context, page, problems } = await visit(browser);
    if (who) await signInAs(page, origin, who);
    const found = await walk(page, who ? page.url() : `${origin}/sign-in`, seen);
    console.log(`# ${role}: ${found.walked.join(" ")}`);
    wrong.push(...[...found.wrong, ...problems].map((text) => `${role}: ${text}`));
    await context.close();
  }
  assert.deepEqual(wrong, []);
});

/** What FHIR gives somebody of the demonstration. */
async function read(who, path) {
  const authorization = `Bearer ${salus.command("token", who)}`;
  const response = await fetch(`${hospital}/fhir/${path}`, { headers: { authorization } });
  const body = await response.json();
  return { status: response.status, count: body.entry?.length ?? 0, first: body.entry?.[0]?.resource };
}

test("patient shares, sees who looked, and stops; then it is refused, and that is seen", async () => {
  const { context, page, problems } = await visit(browser, { width: 390 });
  const { first: patient } = await read("P001", "Patient");
  const wanted = `Observation?patient=Patient/${patient.id}&category=laboratory`;
  assert.equal((await read("consultant", wanted)).count, 0);

  await signInAs(page, hospital, "P001");
  await page.goto(`${hospital}/patient/sharing/new`);
  const choice = page.getByLabel("With whom").locator("option").filter({ hasText: "consultant" });
  await page.getByLabel("With whom").selectOption(await choice.getAttribute("value"));
  await page.getByLabel("Laboratory results").check();
  await page.locator("main form button[type=submit]").click();
  assert.deepEqual(await axe(page), []);
  await page.getByRole("button", { name: "Share these" }).click();
  await page.waitForURL((url) => url.pathname.startsWith("/sign/"));
  assert.deepEqual(await axe(page), []);
  await signAsDemonstration(page);
  await page.getByText("You shared your records.").waitFor();

  const shared = await read("consultant", wanted);
  assert.equal(shared.status, 200);
  assert.ok(shared.count > 0);
  await page.goto(`${hospital}/patient/looked?show=allowed`);
  await page.getByRole("row", { name: /consultant/ }).first().waitFor();

  await page.goto(`${hospital}/patient/sharing`);
  await page.locator("section, article, div").filter({ hasText: "consultant" }).getByRole("button", { name: "Stop sharing" }).last().click();
  await signAsDemonstration(page);
  await page.getByText("You stopped sharing.").waitFor();
  assert.equal((await read("consultant", wanted)).count, 0);
  await page.goto(`${hospital}/patient/looked?show=refused`);
  await page.getByRole("row", { name: /consultant/ }).first().waitFor();
  assert.deepEqual(problems, []);
  await context.close();
});

test("passkey is made, signs in, signs, and opens records with a key that the server never has", async () => {
  const { context, page, requests, problems } = await visit(browser);
  const secrets = await keepSecrets(context);
  await addPasskeys(page);
  await signInAs(page, hospital, "P002");
  await page.goto(`${hospital}/account/passkey`);
  await page.getByRole("button", { name: "Make a passkey" }).click();
  const sheet = await page.locator(".recovery-key").textContent();
  await page.getByRole("button", { name: "I have kept it" }).click();
  await signAsDemonstration(page);
  await page.getByText("Your new passkey is in force.").waitFor();
  await page.getByRole("button", { name: "Sign out", exact: true }).click();

  await page.goto(`${hospital}/sign-in`);
  await page.getByRole("button", { name: "Sign in with a passkey" }).click();
  await page.waitForURL((url) => !url.pathname.startsWith("/sign-in"));

  await page.goto(`${hospital}/patient/sharing/new`);
  await page.getByLabel("Laboratory results").check();
  await page.locator("main form button[type=submit]").click();
  await page.getByRole("button", { name: "Share these" }).click();
  await page.locator("[data-sign] button").click();
  await settled(page);
  await page.getByText("You shared your records.").waitFor();

  for (const typed of ["", sheet]) {
    await page.goto(`${hospital}/patient/sealed`);
    await page.getByLabel("Key from your recovery sheet").fill(typed);
    await page.getByRole("button", { name: "Open on this device" }).click();
    await page.getByText(/opened on this device/).waitFor();
    assert.ok((await page.locator("#opened details").count()) > 0);
    assert.deepEqual(await axe(page), []);
  }
  assert.ok(secrets.length >= 4);
  assert.deepEqual(await leaks(requests, [...secrets, sheet]), []);
  assert.deepEqual(problems, []);
  await context.close();
});

test("member signs in with a wallet, and a stranger is refused", async () => {
  const member = await visit(browser, { wallet: { privateKey: keyOf(salus.dir, "hospital") } });
  await member.page.goto(`${hospital}/sign-in`);
  await member.page.getByRole("button", { name: "Test Wallet" }).click();
  await member.page.waitForURL((url) => url.pathname === "/operator");
  assert.deepEqual(member.problems, []);
  await member.context.close();

  const stranger = await visit(browser, { wallet: { privateKey: `0x${"29".repeat(32)}` } });
  await stranger.page.goto(`${hospital}/sign-in`);
  await stranger.page.getByRole("button", { name: "Test Wallet" }).click();
  await stranger.page.getByText("has no part in the network").waitFor();
  await stranger.context.close();
});

test("pages can be read without the script", async () => {
  const { context, page } = await visit(browser, { javaScript: false });
  await signInAs(page, hospital, "P001");
  for (const path of ["/patient", "/patient/records", "/patient/sharing", "/patient/looked"]) {
    const response = await page.goto(`${hospital}${path}`);
    assert.equal(response.status(), 200, path);
    assert.ok(await page.locator("h1").textContent());
  }
  await context.close();
});
