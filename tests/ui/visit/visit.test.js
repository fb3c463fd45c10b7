/**
 * A first visit, from a server that does not answer to a corrected scene: in Stash's own pages
 * where `PAGES` is their address, else in the harness page with the plugin's operations behind it.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

import { OtherStash, serve } from "../harness/server.js";

const { STASH, PAGES, ENDPOINT, SCENE, CHROMIUM, SCREENSHOTS } = process.env;
const stash = new OtherStash(STASH);
let browser, server, page;

before(async () => {
  server = PAGES ? { url: PAGES, close: () => {} } : await serve(() => stash);
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
  page.setDefaultTimeout(30000);
});
after(async () => {
  await browser?.close();
  server.close();
});

const picture = async (name) => {
  if (!SCREENSHOTS) return;
  await page.screenshot({ path: `${SCREENSHOTS}/${name}-1200.png` });
  await page.setViewportSize({ width: 400, height: 800 });
  await page.waitForTimeout(300);
  await page.screenshot({ path: `${SCREENSHOTS}/${name}-400.png` });
  await page.setViewportSize({ width: 1200, height: 900 });
};
const button = (name) => page.getByRole("button", { name, exact: true });
/** Go to an address of Stash, and close what a new version of Stash has to say. */
async function open(path) {
  await page.goto(`${server.url}${path}`);
  await page.waitForSelector(".haven-nav", { state: "attached" });
  const news = page.locator(".modal-footer button");
  if (PAGES && (await news.waitFor({ timeout: 1500 }).then(() => true, () => false))) await news.first().click();
}
/** Return the ids of the scene's markers in Stash. */
async function markers() {
  const query = "query ($id: ID!) { findScene(id: $id) { scene_markers { id } } }";
  const { data } = await stash.graphql({ query, variables: { id: SCENE } });
  return data.findScene.scene_markers.map(({ id }) => id);
}
/** Wait until Stash has this number of markers of the scene. */
async function untilMarkers(count) {
  for (let round = 0; round < 200; round += 1) {
    if ((await markers()).length === count) return;
    await page.waitForTimeout(100);
  }
  assert.fail(`never ${count} markers, but ${(await markers()).length}`);
}

test("a person gets from an empty set-up to a corrected scene", async () => {
  await open("/plugins/haven-vlm");
  await page.waitForSelector(".haven-steps");
  await button("Check").click();
  await page.waitForSelector(".haven-light.is-down");
  await button("Edit").click();
  await page.fill("#haven-endpoint-0-address", ENDPOINT);
  await button("Save and check").click();
  await page.waitForSelector(".haven-light.is-sound");
  await page.fill("#haven-tags", "");
  await page.click("[aria-label='Tags below Game']");
  await page.locator(".haven-tree-row:has-text('Game') input").click();
  await page.locator(".haven-tree-row:has-text('Game') input").first().waitFor();
  await button("Save the tag list").click();
  await page.waitForSelector("text=Set on this page.");
  assert.equal(await page.locator(".haven-steps .is-done").count(), 2);
  await picture("set-up");

  await open(`/scenes/${SCENE}`);
  await page.click("[data-rb-event-key=haven-vlm]");
  await button("Tag this scene now").click();
  await page.waitForSelector(".haven-ring.is-running", { state: "attached" });
  await page.waitForSelector(".haven-row");
  await page.waitForSelector(".haven-ring:not(.is-running)", { state: "attached" });
  const found = (await markers()).length;
  assert.ok(found > 0);
  do await page.keyboard.press("j");
  while (!/marker in Stash/.test(await page.textContent(".haven-title")));
  await page.waitForFunction(() => [...document.querySelectorAll(".haven-frame img")].some((one) => one.naturalWidth > 100));
  await picture("scene");
  await page.locator(".haven-buttons button:has-text('Wrong')").click();
  await untilMarkers(found - 1);
  await page.waitForSelector(".haven-title:has-text('called wrong')");
  await picture("wrong");
  await page.keyboard.press("u");
  await untilMarkers(found);
  await page.waitForSelector(".haven-title:has-text('marker in Stash')");

  await open("/plugins/haven-vlm/queue");
  await page.waitForSelector("text=Nothing failed.");
  await picture("queue");
  await page.click(".haven-page >> text=Runs");
  await page.click(".haven-fold-title:has-text('Tag Videos')");
  await page.waitForSelector(".haven-items a");
  await picture("runs");
  await page.click(".haven-page nav >> text=Tags");
  await page.waitForSelector(".haven-results td");
  await picture("tags");
  assert.equal(await page.locator(".haven-page [role=alert]").count(), 0);
});
