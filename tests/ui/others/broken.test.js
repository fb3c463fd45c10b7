/** Stash's own pages and this plugin's, with a plugin that cannot run. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { RealStash } from "./stash.js";

const stash = new RealStash();
before(() => stash.start());
after(() => stash.close());

test("Stash's pages work, and each place of the plugin says what is wrong", async () => {
  const page = await stash.open(`/scenes/${process.env.SCENE}`);
  await page.click("[data-rb-event-key=haven-vlm]");
  const alert = page.locator(".haven-tab [role=alert]");
  await alert.waitFor();
  assert.match(await alert.textContent(), /The plugin could not run: .*Python Executable Path/);
  assert.ok(await page.locator(".haven-tab").getByRole("button", { name: "Reload" }).isVisible());
  await page.click("[data-rb-event-key=scene-file-info-panel]");
  await page.waitForSelector(".scene-file-info");
  for (const tab of ["", "/queue", "/runs", "/tags"]) {
    await stash.open(`/plugins/haven-vlm${tab}`);
    await page.waitForSelector(".haven-page [role=alert] >> text=The plugin could not run");
    await page.waitForSelector(".haven-page >> text=Try again");
  }
  await stash.open("/settings?tab=plugins");
  await page.waitForSelector("text=Open Haven VLM Connector");
  await stash.open("/scenes");
  await page.waitForSelector(".scene-card");
  assert.deepEqual(stash.faults, []);
});
