/** An installed plugin is updated and uninstalled in Stash's own page. */
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const { STASH, CHROMIUM } = process.env;
let browser, page;

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
  page.setDefaultTimeout(60000);
});
after(() => browser?.close());

const installed = () => page.locator(".installed-packages");
const row = (more = "") => page.locator(`.installed-packages tbody tr${more}:has-text('Haven VLM Connector')`);
const press = (name) => installed().getByRole("button", { name, exact: true }).click();

test("the plugin is updated, then uninstalled", async () => {
  await page.goto(`${STASH}/settings?tab=plugins`);
  await press("Check for Updates");
  await row(".package-update-available").locator("input").click();
  await press("Update");
  await row(".package-update-available").waitFor({ state: "detached" });
  const all = installed().getByRole("button", { name: "Show All" });
  if (await all.isVisible()) await all.click();
  if (!(await row().locator("input").isChecked())) await row().locator("input").click();
  await press("Uninstall");
  await page.locator(".modal").getByRole("button", { name: "Confirm" }).click();
  await row().waitFor({ state: "detached" });
});
