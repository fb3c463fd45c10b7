/** Stash's own pages with two other plugins that patch the same places as this one. */
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { RealStash } from "./stash.js";

const stash = new RealStash();
before(() => stash.start());
after(() => stash.close());
beforeEach(() => stash.faults.splice(0));
const marked = (kind, name) => stash.page.waitForSelector(`[data-${kind}="${name}"]`, { state: "attached" });

test("a scene has the tab, the entry of its menu and the others' parts", async () => {
  const page = await stash.open(`/scenes/${process.env.SCENE}`);
  for (const name of ["MainNavBar.UtilityItems", "ScenePage.Tabs", "ScenePage.TabContent"]) {
    await marked("children-only", name);
    await marked("instead", name);
  }
  await marked("instead", "ScenePage");
  assert.equal(await page.locator("[data-rb-event-key=haven-vlm]").count(), 1);
  await page.click("#operation-menu");
  await page.waitForSelector(".dropdown-menu >> text=Rescan");
  assert.equal(await page.locator(".dropdown-menu >> text=Tag with VLM…").count(), 1);
  await page.keyboard.press("Escape");
  await page.click("[data-rb-event-key=haven-vlm]");
  await page.waitForSelector("text=No run has looked at this scene yet.");
  await page.click("[data-rb-event-key=scene-file-info-panel]");
  await page.waitForSelector(".haven-tab", { state: "detached" });
  assert.deepEqual(stash.faults, []);
});

test("selected scenes, images and galleries keep their lists", async () => {
  const page = await stash.open("/scenes");
  await marked("instead", "SceneCard");
  await page.locator(".scene-card").first().hover();
  await page.locator(".scene-card .card-check").first().click();
  await page.waitForSelector(".scene-card .card-check:checked");
  for (const path of ["/images", "/galleries"]) {
    await stash.open(path);
    await page.waitForSelector(".haven-nav", { state: "attached" });
    await page.waitForSelector("[role=toolbar], .filtered-list-toolbar, .list-operations");
  }
  assert.deepEqual(stash.faults, []);
});

test("each plugin's settings are Stash's, and one block is this plugin's", async () => {
  const page = await stash.open("/settings?tab=plugins");
  await page.waitForSelector("text=Open Haven VLM Connector");
  assert.equal(await page.locator("text=Open Haven VLM Connector").count(), 1);
  assert.ok((await page.locator('[data-instead="PluginSettings"]').count()) >= 3);
  await page.waitForSelector('h3:text-is("Endpoint")', { state: "attached" });
  await page.click("text=Open Haven VLM Connector");
  await page.waitForSelector(".haven-steps");
  assert.deepEqual(stash.faults, []);
});
