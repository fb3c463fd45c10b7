import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { FakePlugin, serve } from "./server.js";
import { Visitor } from "./visitor.js";

let plugin = new FakePlugin();
let visitor, server, page, faults;

before(async () => {
  server = await serve(() => plugin);
  visitor = await Visitor.start();
  ({ page, faults } = visitor);
});
after(async () => {
  await visitor?.browser.close();
  server.close();
});
beforeEach(async () => {
  await visitor.leave();
  plugin = new FakePlugin();
});

const open = (path) => page.goto(`${server.url}${path}`);
async function openTab(scene, options = "") {
  await open(`/scenes/${scene}${options}`);
  await page.click("[data-rb-event-key=haven-vlm]");
  await page.waitForSelector(".haven-tab");
}
async function closeTab() {
  await page.click("[data-rb-event-key=details]");
  await page.waitForSelector(".haven-tab", { state: "detached" });
}
const text = (selector) => page.textContent(selector);
const detail = () => text(".haven-title");
const press = (key) => page.keyboard.press(key);
const operations = () => plugin.calls.map((call) => call.op);
/** Wait until a condition holds that the page does not show. */
async function until(condition) {
  for (let round = 0; round < 160; round += 1) {
    if (await condition()) return;
    await page.waitForTimeout(50);
  }
  assert.fail(`never: ${condition}`);
}
const picture = async (name) => {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png`, fullPage: true });
};

test("nothing is asked before the tab is used", async () => {
  await open("/scenes/12");
  await page.waitForSelector("text=Stash's details");
  const ours = plugin.requests.filter((path) => /graphql|\/plugin\//.test(path));
  assert.deepEqual(ours.sort(), ["/stash/plugin/ahavenvlmconnector/css", "/stash/plugin/ahavenvlmconnector/javascript"]);
  await page.click("[data-rb-event-key=haven-vlm]");
  await page.waitForSelector(".haven-row");
  assert.deepEqual(operations(), ["scene"]);
  assert.deepEqual(faults, []);
});

test("the tab shows every tag and selects moments by key", async () => {
  await openTab("12");
  await page.waitForSelector(".haven-row");
  assert.match(await text(".haven-summary"), /^3 tags, 5 moments · qwen3-vl-8b · yesterday$/);
  assert.equal(await page.locator(".haven-row").count(), 5);
  await press("j");
  assert.match(await detail(), /Foul 2:04 – 2:31 97 %, very likely · marker in Stash/);
  await page.waitForSelector(".haven-frame img");
  assert.match(await text(".haven-pictures"), /2:05 yes/);
  await press("j");
  assert.match(await detail(), /^Goal 4:41/);
  await press("k");
  assert.match(await detail(), /^Foul 2:04/);
  assert.deepEqual(await page.evaluate(() => harness.player.calls), ["seek 124", "seek 281", "seek 124"]);
  await press(" ");
  assert.equal(await page.evaluate(() => harness.player.calls.at(-1)), "play");
  await picture("tab-1200");
  assert.deepEqual(faults, []);
});

test("a click selects a moment, and seeks where there is none", async () => {
  await openTab("12");
  const box = await page.locator(".haven-row canvas").first().boundingBox();
  const at = (seconds) => page.mouse.click(box.x + (seconds / 3600) * box.width, box.y + 16);
  await at(735);
  assert.match(await detail(), /^Foul 12:00 – 12:40/);
  await at(3000);
  assert.match(await detail(), /^Foul 12:00 – 12:40/);
  const dots = await page.locator(".haven-frames-row").boundingBox();
  await page.mouse.click(dots.x + (1725 / 3600) * dots.width, dots.y + 8);
  const [first, second, third] = (await page.evaluate(() => harness.player.calls)).map((one) => Number(one.slice(5)));
  assert.equal(first, 720);
  assert.ok(Math.abs(second - 3000) < 20, second);
  assert.ok(Math.abs(third - 1725) <= 40 && third % 40 === 5, third);
  await page.click(".haven-frame");
  assert.equal(await page.evaluate(() => harness.player.calls.length), 4);
  await page.click("button:has-text('Turnover')");
  assert.match(await detail(), /^Turnover 15:05 .* below the threshold, no marker · threshold 70 %/);
  await page.click("text=Add marker");
  assert.match(await detail(), /kept by you/);
});

test("frames are hidden in Stash's safe mode", async () => {
  await openTab("12");
  await press("j");
  await page.waitForSelector(".haven-frame img");
  await page.evaluate(() => document.getElementById("root").classList.add("sfw-content-mode"));
  assert.equal(await page.isVisible(".haven-frame img"), false);
});

test("Stash gets no key that the tab takes", async () => {
  await openTab("12");
  for (const key of ["j", "k", "y", "e"]) await press(key);
  assert.deepEqual(await page.evaluate(() => harness.pressed), ["e"]);
  await closeTab();
  await press("j");
  assert.deepEqual(await page.evaluate(() => harness.pressed), ["e", "j"]);
});

test("decisions show at once, are sent together, and can be undone", async () => {
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await press("j");
  await press("n");
  assert.match(await detail(), /called wrong/);
  await press("j");
  await press("y");
  assert.match(await detail(), /kept by you/);
  assert.match(await text(".haven-status"), /Saving/);
  await page.waitForSelector(".haven-status:has-text('Saved')");
  const [call] = plugin.calls.filter((one) => one.op === "decide");
  assert.deepEqual(call.decisions.map((one) => [one.kind, one.tag, one.start_s, one.marker_id]), [["wrong", "Foul", 124, "124"], ["keep", "Goal", 281, "281"]]);
  assert.equal(call.revision, 1);
  assert.deepEqual(await page.evaluate(() => harness.refetched), ["FindScene"]);
  await press("u");
  await until(() => operations().includes("undo_decision"));
  await press("k");
  await page.waitForSelector(".haven-title:has-text('marker in Stash')");
  assert.deepEqual(faults, []);
});

test("a decision that was not sent is undone without a call", async () => {
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await press("j");
  await press("n");
  await press("u");
  assert.match(await detail(), /marker in Stash/);
  await closeTab();
  assert.deepEqual(operations().filter((op) => op !== "frames"), ["scene"]);
});

test("a decision is sent when the tab closes", async () => {
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await press("j");
  await press("n");
  await closeTab();
  await until(() => operations().includes("decide"));
  await page.click("[data-rb-event-key=haven-vlm]");
  await press("j");
  await page.waitForSelector(".haven-title:has-text('called wrong')");
});

test("an end is dragged, nudged, and set from the player", async () => {
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await press("j");
  await page.click("text=Adjust");
  const handle = await page.locator(".haven-handle.is-end").boundingBox();
  await page.mouse.move(handle.x + 4, handle.y + 16);
  await page.mouse.down();
  await page.mouse.move(handle.x + 30, handle.y + 16, { steps: 4 });
  await page.mouse.up();
  const dragged = await detail();
  assert.match(dragged, /2:04 – 2:3[5-9]/);
  await page.focus(".haven-handle.is-start");
  await press("ArrowLeft");
  assert.match(await detail(), /Foul 2:03 –/);
  await page.click("text=start −1 s");
  assert.match(await detail(), /Foul 2:02 –/);
  await picture("adjust-1200");
  await page.click("text=Done");
  await page.evaluate(() => (harness.player.time = 150));
  await press("]");
  await page.waitForSelector(".haven-status:has-text('Saved')");
  const [call, ...more] = plugin.calls.filter((one) => one.op === "decide");
  assert.deepEqual(more, []);
  assert.deepEqual(call.decisions.map((one) => [one.kind, one.start_s, one.new_start_s, one.new_end_s]), [["adjust", 124, 122, 150]]);
  assert.deepEqual(faults, []);
});

test("a decision about a scene that changed elsewhere is sent again", async () => {
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await press("j");
  await page.waitForSelector(".haven-frame img");
  plugin.stored({ ...plugin.scenes.get("12"), title: "Changed" });
  plugin.refusals.push("changed");
  await press("n");
  await page.waitForSelector(".haven-status:has-text('Saved')");
  assert.deepEqual(plugin.calls.filter((one) => one.op === "decide").map((one) => one.revision), [1, 2]);
});

test("a decision about a tag that changed meanwhile is not sent again", async () => {
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await press("j");
  await page.waitForSelector(".haven-frame img");
  const [foul, ...others] = plugin.scenes.get("12").tags;
  plugin.stored({ ...plugin.scenes.get("12"), tags: [{ ...foul, spans: foul.spans.slice(1) }, ...others] });
  plugin.refusals.push("changed");
  await press("n");
  await page.waitForSelector("[role=alert]:has-text('changed meanwhile')");
  assert.equal(operations().filter((op) => op === "decide").length, 1);
});

test("a refused decision is taken back and the reason said", async () => {
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await press("j");
  await page.waitForSelector(".haven-frame img");
  plugin.refusals.push("stash");
  await press("n");
  assert.match(await detail(), /called wrong/);
  await page.waitForSelector("[role=alert]:has-text('refused: stash')");
  assert.match(await detail(), /marker in Stash/);
});

test("a busy plugin is asked once more", async () => {
  plugin.refusals.push("busy");
  await openTab("12");
  await page.waitForSelector(".haven-row");
  assert.deepEqual(operations(), ["scene", "scene"]);
});

test("a scene that was never tagged is tagged from its page", async () => {
  await openTab("13");
  await page.waitForSelector("text=The plugin has not tagged this yet.");
  await picture("never-1200");
  await page.click("text=Tag this scene now");
  await page.waitForSelector(".haven-ring.is-running");
  assert.equal(await page.locator(".haven-ring.is-running").count(), 2);
  assert.deepEqual(plugin.tasks[0], {
    plugin: "ahavenvlmconnector", description: "Tag 1 scene", args: { mode: "tag_videos", scenes: "13" },
  });
  await page.reload();
  await page.waitForSelector(".haven-ring.is-running");
  await page.waitForSelector(".haven-ring:not(.is-running)");
  assert.deepEqual(faults, []);
});

test("a scene without finds says why that may be", async () => {
  await openTab("14");
  await page.waitForSelector("text=Nothing was found.");
});

test("the tab fits a phone", async () => {
  await page.setViewportSize({ width: 400, height: 800 });
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await press("j");
  await page.waitForSelector(".haven-frame img");
  const wide = await page.evaluate(() => [...document.querySelectorAll(".haven-tab *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.className));
  assert.deepEqual(wide, []);
  await picture("tab-400");
  await page.click("text=Adjust");
  await picture("adjust-400");
  const small = await page.evaluate(() => [...document.querySelectorAll(".haven-buttons button, .haven-header button, .haven-handle")].filter((one) => one.getBoundingClientRect().height < 31).map((one) => one.textContent));
  assert.deepEqual(small, []);
});

test("5,000 markers in 51 tags are drawn, ten rows at a time", async () => {
  await openTab("5000");
  await page.waitForSelector(".haven-row");
  assert.ok((await page.locator(".haven-row").count()) < 16);
  await page.evaluate(() => (document.querySelector(".haven-rows").scrollTop = 1200));
  await page.waitForSelector("text=Tag 40");
  await press("k");
  assert.match(await detail(), /^Foul|Tag/);
  await picture("large-1200");
  assert.deepEqual(faults, []);
});

test("other plugins' patches change nothing", async () => {
  await openTab("12", "?others");
  await page.waitForSelector(".haven-row");
  assert.equal(await page.locator(".nav-link:has-text('Other')").count(), 1);
  await page.click("#operation-menu");
  await page.click("text=Tag with VLM…");
  await page.waitForSelector(".modal:has-text('Adds tags and markers to these scenes')");
  await open("/settings?others");
  assert.equal(await page.locator("text=Stash's settings of").count(), 2);
  assert.equal(await page.locator("text=Open Haven VLM Connector").count(), 1);
  assert.deepEqual(faults, []);
});

test("a plugin that takes the props away does not take the tab", async () => {
  await openTab("12", "?strip");
  await page.waitForSelector(".haven-row");
  assert.deepEqual(faults, []);
});

test("the names of Stash 0.28 are enough for tab, menu and ring", async () => {
  await openTab("12", "?names=0.28");
  await press("j");
  await press(" ");
  assert.deepEqual(await page.evaluate(() => harness.player.calls), ["seek 124", "seek 124", "play"]);
  assert.equal(await page.locator(".haven-nav").count(), 2);
  await page.click("#operation-menu");
  await page.waitForSelector("text=Tag with VLM…");
  await open("/galleries/3?names=0.28");
  await page.waitForSelector("text=Stash's gallery 3");
  assert.equal(await page.locator("button").count(), 0);
  assert.deepEqual(faults, []);
});

test("a task about chosen items says first what it writes", async () => {
  await open("/galleries/3");
  await page.click("text=Tag this gallery with VLM…");
  await page.waitForSelector(".modal:has-text('Adds tags to the images of these galleries')");
  await picture("dialogue-1200");
  await page.click("text=Cancel");
  assert.deepEqual(plugin.tasks, []);
  await page.click("text=Tag with VLM…");
  await page.click(".modal >> text=Start");
  await page.waitForSelector(".modal:has-text('The task is queued')");
  assert.deepEqual(plugin.tasks[0].args, { mode: "tag_images", images: "7,8" });
  await page.click("text=Close");
  await open("/scenes");
  await page.click("text=Tag with VLM…");
  await page.click(".modal >> text=Start");
  await until(() => plugin.tasks.length === 2);
  assert.deepEqual(plugin.tasks[1].args, { mode: "tag_videos", scenes: "12" });
  assert.deepEqual(faults, []);
});

test("the image page shows what the image was asked about", async () => {
  await open("/images/7");
  await page.waitForSelector("text=Stash's image 7");
  assert.deepEqual(plugin.calls, []);
  await page.click(".haven-block button");
  await page.waitForSelector(".haven-list li:has-text('Foul')");
  assert.match(await text(".haven-image"), /Foul91 %found.*Goal12 %not found/);
  await picture("image-1200");
  assert.deepEqual(faults, []);
});

test("a plugin that cannot run says so, and Stash's page works", async () => {
  plugin.isBroken = true;
  await openTab("12");
  await page.waitForSelector("[role=alert]:has-text('error running plugin')");
  await closeTab();
  await page.waitForSelector("text=Stash's details");
  plugin.isBroken = false;
  await page.click("[data-rb-event-key=haven-vlm]");
  await page.waitForSelector(".haven-row");
});

test("a module that does not load breaks its own place only", async () => {
  plugin.isMissing = true;
  await open("/scenes/12");
  await page.click("[data-rb-event-key=haven-vlm]");
  await page.waitForSelector(".haven-error:has-text('Haven VLM Connector cannot show this part')");
  await page.click("[data-rb-event-key=details]");
  await page.waitForSelector("text=Stash's details");
});
