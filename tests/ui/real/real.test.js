import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

import { OtherStash, serve } from "../harness/server.js";

const { STASH, SCENE, NEW_SCENE, CHROMIUM, SCREENSHOTS } = process.env;
const stash = new OtherStash(STASH);
let browser, server, page;

before(async () => {
  server = await serve(() => stash);
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
  page.setDefaultTimeout(60000);
});
after(async () => {
  await browser?.close();
  server.close();
});

/** Return a scene's markers in Stash by id. */
async function markers(id = SCENE) {
  const query = "query ($id: ID!) { findScene(id: $id) { scene_markers { id title seconds end_seconds } } }";
  const { data } = await stash.graphql({ query, variables: { id } });
  return new Map(data.findScene.scene_markers.map((marker) => [marker.id, marker]));
}
const saved = () => page.waitForSelector(".haven-status:has-text('Saved')");
const detail = () => page.textContent(".haven-title");
/** Wait until the markers in Stash are as they should be. */
async function until(holds) {
  for (let round = 0; round < 200; round += 1) {
    if (holds(await markers())) return;
    await page.waitForTimeout(100);
  }
  assert.fail(`never: ${holds}; ${JSON.stringify([...(await markers()).values()])}`);
}

test("what a run found is seen and corrected from the scene's tab", async () => {
  await page.goto(`${server.url}/scenes/${SCENE}`);
  await page.click("[data-rb-event-key=haven-vlm]");
  await page.waitForSelector(".haven-row");
  const first = await markers();
  assert.ok(first.size > 0);

  do await page.keyboard.press("j");
  while (!/marker in Stash/.test(await detail()));
  await page.waitForFunction(() => [...document.querySelectorAll(".haven-frame img")].some((one) => one.naturalWidth > 100));
  if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/real.png` });
  await page.keyboard.press("n");
  await saved();
  assert.match(await detail(), /called wrong/);
  const second = await markers();
  const [gone] = [...first.keys()].filter((id) => !second.has(id));
  assert.equal(second.size, first.size - 1);

  await page.keyboard.press("u");
  await until((now) => now.size === first.size);
  await page.waitForSelector(".haven-title:has-text('marker in Stash')");

  await page.keyboard.press("n");
  await until((now) => now.size === first.size - 1);
  await page.click("text=Bring back");
  await until((now) => now.size === first.size);
  await page.waitForSelector(".haven-title:has-text('marker in Stash')");

  const { seconds, title } = first.get(gone);
  const end = Math.round((seconds + 1.7) * 10) / 10;
  await page.evaluate((time) => (harness.player.time = time), end);
  await page.keyboard.press("]");
  await until((now) => [...now.values()].some((one) => one.title === title && Math.abs(one.end_seconds - end) < 0.05));
  await saved();
  assert.match(await detail(), /adjusted by you/);
  await page.keyboard.press("u");
  await until((now) => ![...now.values()].some((one) => one.title === title && Math.abs(one.end_seconds - end) < 0.05));
  assert.equal(await page.locator("[role=alert]").count(), 0);
});

test("a scene is tagged from its tab, whether it is queued or not", async () => {
  await page.goto(`${server.url}/scenes/${NEW_SCENE}`);
  await page.click("[data-rb-event-key=haven-vlm]");
  await page.waitForSelector("text=No run has looked at this scene yet.");
  await page.click("text=Tag this scene now");
  await page.waitForSelector(".haven-ring.is-running");
  await page.waitForSelector(".haven-row");
  assert.match(await page.textContent(".haven-summary"), /moments · .*just now/);
  assert.ok((await markers(NEW_SCENE)).size > 0);
  assert.deepEqual(await page.evaluate(() => harness.refetched.slice(-1)), ["FindScene"]);
});
