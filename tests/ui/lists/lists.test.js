/** Tasks that start from the lists in Stash's own pages, at the address in `STASH`. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

import { OtherStash } from "../harness/server.js";

const { STASH, CHROMIUM, SCREENSHOTS } = process.env;
const stash = new OtherStash(STASH);
let browser, page;

before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
  page.setDefaultTimeout(30000);
});
after(() => browser?.close());

/** Go to an address of Stash, and close what a new version of Stash has to say. */
async function open(path) {
  await page.goto(`${STASH}${path}`);
  await page.waitForSelector(".haven-nav", { state: "attached" });
  const news = page.locator(".modal-footer button");
  if (await news.waitFor({ timeout: 1500 }).then(() => true, () => false)) await news.first().click();
}
const picture = async (name) => {
  if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/${name}.png` });
};
/**
 * Open the dialogue from the list's operations. Return false where this Stash has no place for
 * ours: there the selected scenes start from the navigation bar.
 */
async function dialogue() {
  await page.locator("#more-menu:visible").first().click();
  await picture("operations");
  const entry = page.locator(".dropdown-item:visible:has-text('Tag with VLM…')");
  const hasEntry = await entry.waitFor({ timeout: 5000 }).then(() => true, () => false);
  await (hasEntry ? entry : page.locator(".haven-selected:visible")).click();
  await page.waitForSelector(".modal .haven-findings");
  return hasEntry;
}
async function started() {
  await page.click(".modal >> text=Start now");
  await page.waitForSelector(".modal:has-text('The task is queued')");
  await page.click(".modal >> text=Close");
}
async function scenesWith(tag) {
  const query = "query { findScenes(filter: { per_page: -1 }) { scenes { id tags { name } } } }";
  const { data } = await stash.graphql({ query });
  return data.findScenes.scenes.filter(({ tags }) => tags.some(({ name }) => name === tag)).length;
}
const idle = () => page.waitForSelector(".haven-ring:not(.is-running)", { state: "attached" });

test("selected scenes, and all that the filter shows, are tagged from the list", async () => {
  await open("/scenes?q=Spiel");
  await page.waitForSelector(".scene-card");
  await page.locator(".scene-card .card-check").first().check({ force: true });
  const hasEntry = await dialogue();
  await page.waitForSelector(".modal:has-text('Tag 1 scene') >> text=1 video");
  await picture("list-selected");
  await started();
  await page.waitForSelector(".haven-ring.is-running", { state: "attached" });
  await idle();
  assert.equal(await scenesWith("VLM_Tagged"), 1);
  if (!hasEntry) return; // and no filter is handed over
  await open("/scenes?q=Spiel");
  await page.waitForSelector(".scene-card");
  await dialogue();
  await page.waitForSelector(".modal:has-text('every scene that this filter shows') >> text=2 videos");
  await picture("list-filter");
  await started();
  await page.waitForSelector(".haven-ring.is-running", { state: "attached" });
  await idle();
  assert.equal(await scenesWith("VLM_Tagged"), 2);
});

test("a task from Stash's Tasks page shows in the queue and is stopped there", async () => {
  await open("/plugins/haven-vlm/queue");
  await page.waitForSelector("text=Start");
  const query = `mutation { runPluginTask(plugin_id: "ahavenvlmconnector", task_name: "Check Set-up", args_map: { mode: "check_setup" }) }`;
  for (let count = 0; count < 12; count += 1) await stash.graphql({ query });
  await page.waitForSelector("[role=status]:has-text('Check Set-up waits')");
  await picture("queue-elsewhere");
  const stop = page.locator("[role=status] >> text=Stop");
  // A job may end, and its button go, in the moment of the click.
  while (await stop.count()) await stop.last().click({ timeout: 3000 }).catch(() => undefined);
  await idle();
  const { data } = await stash.graphql({ query: "{ jobQueue { status } }" });
  assert.ok(!data.jobQueue?.some(({ status }) => status === "READY" || status === "RUNNING"));
});
