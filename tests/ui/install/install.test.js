/**
 * From an empty Stash to the first tagged scene through Stash's own pages, with every click
 * counted: the source is added, the plugin installed, server and tags set, one scene tagged.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const { STASH, SOURCE, ENDPOINT, CHROMIUM, SCREENSHOTS } = process.env;
const MOST_CLICKS = 8;
let browser, page;

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
  page.setDefaultTimeout(30000);
});
after(() => browser?.close());

let clicks = 0;
/** Click with the mouse, and count it. */
async function click(target) {
  await target.click();
  clicks += 1;
}
async function picture(name) {
  if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/install-${name}.png` });
}

test("eight clicks lead from an empty Stash to the first tags", async () => {
  await page.goto(STASH);
  await click(page.locator(".navbar-buttons a[href$='/settings']"));
  await click(page.getByRole("tab", { name: "Plugins", exact: true }));
  await click(page.locator(".available-packages .add-package-source button, .available-packages .package-manager-no-results button"));
  await page.fill("#package-source-name input", "Haven");
  await page.fill("#package-source-url input", SOURCE);
  await picture("source");
  await page.keyboard.press("Enter");
  await click(page.locator(".available-packages .source-name:has-text('Haven')"));
  await click(page.locator(".available-packages .package-cell:has-text('Haven VLM Connector')"));
  await picture("package");
  await click(page.locator(".available-packages").getByRole("button", { name: "Install" }));
  await page.locator(".installed-packages .package-name:has-text('Haven VLM Connector')").waitFor();
  await page.reload();

  await click(page.locator(".haven-nav:visible"));
  await page.fill("#haven-first-server", ENDPOINT);
  await page.fill("#haven-first-tags", "Foul, Goal, Turnover, Timeout");
  await picture("first");
  await click(page.getByRole("button", { name: "Save, check and tag this scene" }));
  await page.getByRole("link", { name: "See what was found" }).waitFor({ timeout: 120000 });
  await picture("done");
  assert.equal(await page.locator(".haven-page [role=alert]").count(), 0);
  assert.ok(clicks <= MOST_CLICKS, `${clicks} clicks`);
});
