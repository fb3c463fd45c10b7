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
  for (let round = 0; round < 600; round += 1) {
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

test("a decision that comes during an undo is sent after it", async () => {
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await press("j");
  await press("n");
  await page.waitForSelector(".haven-status:has-text('Saved')");
  plugin.delays.undo_decision = 1500;
  await press("u");
  await press("j");
  await press("n");
  const decided = () => plugin.calls.filter((one) => one.op === "decide");
  await until(() => decided().length === 2);
  assert.deepEqual(decided().map((one) => one.revision), [1, 3]);
  assert.deepEqual(faults, []);
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

test("ends are dragged by mouse and by finger alone", async () => {
  const drag = async (end, by, events) => {
    const handle = await page.locator(`.haven-handle.is-${end}`).boundingBox();
    const [x, y] = [handle.x + handle.width / 2, handle.y + handle.height / 2];
    await events.down(x, y);
    for (let step = 1; step <= 5; step += 1) await events.move(x + (by * step) / 5, y + step * 8);
    await events.up();
  };
  const mouse = {
    down: async (x, y) => { await page.mouse.move(x, y); await page.mouse.down(); },
    move: (x, y) => page.mouse.move(x, y),
    up: () => page.mouse.up(),
  };
  const session = await page.context().newCDPSession(page);
  const touches = (type, ...points) => session.send("Input.dispatchTouchEvent", { type, touchPoints: points });
  const finger = {
    down: (x, y) => touches("touchStart", { x, y }),
    move: (x, y) => touches("touchMove", { x, y }),
    up: () => touches("touchEnd"),
  };
  const ends = async () => (await detail()).match(/Foul (\d+):(\d\d) – (\d+):(\d\d)/).slice(1).map(Number);
  await openTab("12");
  const row = await page.locator(".haven-row canvas").first().boundingBox();
  await page.mouse.click(row.x + (740 / 3600) * row.width, row.y + 16);
  await page.click("text=Adjust");
  await drag("start", -60, mouse);
  await drag("end", 60, finger);
  const [fromMinute, from, toMinute, to] = await ends();
  assert.ok(60 * fromMinute + from < 715, `from ${fromMinute}:${from}`);
  assert.ok(60 * toMinute + to > 765, `to ${toMinute}:${to}`);
  await page.click("text=Done");
  await page.waitForSelector(".haven-status:has-text('Saved')");
  await page.waitForSelector(".haven-title:has-text('adjusted by you')");
  const [call] = plugin.calls.filter((one) => one.op === "decide");
  const [{ new_start_s, new_end_s }] = call.decisions;
  assert.ok(new_start_s < 715 && new_end_s > 765, `${new_start_s} ${new_end_s}`);
  assert.deepEqual(faults, []);
});

test("a decision about a scene that changed elsewhere is sent again", async () => {
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await press("j");
  await page.waitForSelector(".haven-frame img");
  plugin.stored({ ...plugin.items.get("scene 12"), title: "Changed" });
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
  const [foul, ...others] = plugin.items.get("scene 12").tags;
  plugin.stored({ ...plugin.items.get("scene 12"), tags: [{ ...foul, spans: foul.spans.slice(1) }, ...others] });
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
    plugin: "ahavenvlmconnector", description: "VLM: Tag 1 scene", args: { mode: "tag_videos", scenes: "13" },
  });
  plugin.jobs[0].lasts = 100;
  await page.reload();
  await page.waitForSelector(".haven-ring.is-running");
  plugin.jobs[0].lasts = 1;
  await page.waitForSelector(".haven-ring:not(.is-running)");
  assert.deepEqual(faults, []);
});

test("a scene without finds says why that may be", async () => {
  await openTab("14");
  await page.waitForSelector("text=No tag reached its threshold.");
  const reasons = await page.locator(".haven-reasons li").allTextContents();
  assert.deepEqual(reasons.map((one) => one.split(/[;.] /)[0]), [
    "The surest moment is Goal at 4:41 – 5:00 with 62 %",
    "18 of 90 frames could not be read or judged",
    "The model said no to every tag in 72 frames",
    "About 12 % of short events are missed at this effort",
    "These tags were looked for: Foul, Goal",
  ]);
  await picture("nothing-1200");
  await page.click("text=Show it");
  assert.match(await detail(), /^Goal 4:41/);
  await page.click("text=Look harder");
  await until(() => plugin.tasks.length === 1);
  assert.deepEqual(plugin.tasks[0].args, { mode: "tag_videos", scenes: "14", VIDEO_SEARCH_EFFORT: "1.6" });
  await page.waitForSelector(".haven-ring:not(.is-running)");
  await page.click(".haven-reasons >> text=Change the tags");
  await page.waitForSelector("h4:has-text('Servers')");
  assert.deepEqual(faults, []);
});

test("a scene is looked at again, as set or harder", async () => {
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await page.click("[aria-label='How hard to look']");
  await page.waitForSelector(".haven-again .dropdown-menu.show");
  const entries = await page.locator(".haven-again .dropdown-item").allTextContents();
  assert.deepEqual(entries, [
    "As set: only what was never asked",
    "Harder (1.6): about 172 questions more, 9 % of short events missed",
    "Harder (2.5): about 385 questions more, 7 % of short events missed",
  ]);
  await picture("again-1200");
  await page.click("text=Harder (2.5)");
  await until(() => plugin.tasks.length === 1);
  assert.equal(plugin.tasks[0].args.VIDEO_SEARCH_EFFORT, "2.5");
  assert.deepEqual(faults, []);
});

test("a decision waits for a task that is writing, and is not lost", async () => {
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await press("j");
  await page.waitForSelector(".haven-frame img");
  plugin.refusals.push("busy", "busy");
  await press("n");
  await page.waitForSelector(".haven-status:has-text('Waits for a task')");
  assert.match(await detail(), /called wrong/);
  await page.waitForSelector(".haven-status:has-text('Saved')");
  assert.equal(operations().filter((op) => op === "decide").length, 3);
  assert.deepEqual(faults, []);
});

test("the last decision is undone after the page was loaded anew, and from a second page", async () => {
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await press("j");
  await press("n");
  await page.waitForSelector(".haven-status:has-text('Saved')");
  await openTab("12");
  await page.waitForSelector(".haven-row");
  await press("j");
  await page.waitForSelector(".haven-title:has-text('called wrong')");
  const other = await visitor.browser.newPage();
  await other.goto(`${server.url}/scenes/12`);
  await other.click("[data-rb-event-key=haven-vlm]");
  await other.waitForSelector(".haven-row");
  await other.click(".haven-header >> text=Undo");
  await until(() => operations().includes("undo_decision"));
  await page.bringToFront();
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await page.waitForSelector(".haven-title:has-text('marker in Stash')");
  await other.close();
});

test("very long scenes and those of unknown length have a timeline", async () => {
  for (const [scene, found] of [["6h", /^Foul 5:50:00 – 6:00:00/], ["0", /^Foul 2:04/]]) {
    await openTab(scene);
    await page.waitForSelector(".haven-row");
    await press("j");
    assert.match(await detail(), found);
    const row = page.locator(".haven-row canvas").first();
    const box = await row.boundingBox();
    const right = scene === "6h" ? box.width * 0.98 : (720 / 3565) * box.width + 2;
    await page.mouse.click(box.x + right, box.y + 16);
    assert.match(await detail(), /^Foul (5:50:00|12:00)/);
  }
  assert.deepEqual(faults, []);
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
  const slowest = await page.evaluate(async () => {
    const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    let slowest = 0;
    for (const key of "jjjjnjjk") {
      const start = performance.now();
      press(key);
      await frame();
      slowest = Math.max(slowest, performance.now() - start);
    }
    return slowest;
  });
  if (process.env.FIGURES) console.log(`slowest key: ${Math.round(slowest)} ms`);
  assert.ok(slowest < 1000, `${slowest} ms`);
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

test("the settings page shows the state in one call, and Stash's own rows stay", async () => {
  await open("/settings");
  const block = page.locator(".haven-block");
  await block.locator("text=Its settings are right.").waitFor();
  await block.locator("text=Last run: Tag Videos, 3 minutes ago. 3 scenes: 2 done, 1 failed").waitFor();
  await block.locator("text=No tags are set, so those of the example are looked for.").waitFor();
  assert.deepEqual(plugin.calls.map(({ op }) => op), ["status", "settings"]);
  assert.equal(plugin.requests.filter((path) => path.endsWith("graphql")).length, 1);
  plugin.refusals.push("setup");
  await open("/settings");
  await page.waitForSelector(".haven-block [role=alert]:has-text('refused: setup')");
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
  await page.waitForSelector(".modal:has-text('Tag the images of 1 gallery') >> text=about 40 minutes");
  assert.deepEqual(plugin.calls.at(-1), { op: "forecast", galleries: ["3"] });
  await picture("dialogue-1200");
  await page.click("text=Cancel");
  assert.deepEqual(plugin.tasks, []);
  await page.click("text=Tag with VLM…");
  await page.click(".modal >> text=Start now");
  await page.waitForSelector(".modal:has-text('The task is queued')");
  assert.deepEqual(plugin.tasks[0].args, { mode: "tag_images", images: "7,8" });
  await page.click("text=Close");
  assert.deepEqual(faults, []);
});

test("a dialogue offers everything that the list's filter shows", async () => {
  await open("/images?selected=300");
  await page.click("text=Tag with VLM…");
  await page.waitForSelector(".modal:has-text('Tag 300 images') >> text=0 videos and 300 images");
  await page.click(".modal >> text=every image that this filter shows");
  await page.waitForSelector(".modal >> text=20000 images");
  await picture("dialogue-filter-1200");
  await page.click(".modal button:has-text('Preview')");
  await page.waitForSelector(".modal:has-text('The task is queued')");
  assert.deepEqual(plugin.tasks[0].args, { mode: "preview", image_filter: '{"organized":true}', search: "final" });
  assert.deepEqual(faults, []);
});

test("more items than a task takes are refused, and a filter is offered", async () => {
  await open("/images?selected=2001");
  await page.click("text=Tag with VLM…");
  await page.waitForSelector(".modal:has-text('at most 2,000')");
  assert.equal(await page.locator(".modal button:has-text('Start now')").count(), 0);
  await page.click(".modal >> text=every image that this filter shows");
  await page.click(".modal >> text=Start now");
  await page.waitForSelector(".modal:has-text('The task is queued')");
  assert.deepEqual(faults, []);
});

for (const names of ["", "?names=0.30", "?names=0.31", "?others"]) {
  test(`selected scenes are tagged from their list, once offered ${names}`, async () => {
    await open(`/scenes${names}`);
    await page.waitForSelector("text=Card 12 true");
    await page.waitForTimeout(100);
    assert.equal(await page.locator("text=Tag with VLM…").count(), 1);
    assert.equal(await page.locator(".haven-selected").count(), 0);
    await page.click("text=Card 13");
    await page.click("text=Tag with VLM…");
    await page.waitForSelector(".modal:has-text('Tag 2 scenes')");
    await page.click(".modal >> text=Start now");
    await until(() => plugin.tasks.length === 1);
    assert.deepEqual(plugin.tasks[0].args, { mode: "tag_videos", scenes: "12,13" });
    await page.click("text=Close");
    await page.click("text=Card 12");
    await page.click("text=Card 13");
    await page.click("text=Tag with VLM…");
    await page.waitForSelector(".modal:has-text('Tag every scene that this filter shows')");
    await page.click(".modal >> text=Start now");
    await until(() => plugin.tasks.length === 2);
    assert.deepEqual(plugin.tasks[1].args, { mode: "tag_videos", scene_filter: '{"has_markers":"false"}' });
    assert.deepEqual(faults, []);
  });
}

test("a list without a place for operations has a button in the bar", async () => {
  await open("/scenes?names=0.28");
  await page.click("text=Card 13");
  assert.equal(await page.locator("text=Tag with VLM…").count(), 0);
  await page.click(".haven-selected:has-text('VLM (2)') >> nth=0");
  await page.waitForSelector(".modal:has-text('Tag 2 scenes')");
  await page.click(".modal >> text=Cancel");
  await page.click("text=home");
  await page.waitForSelector(".haven-selected", { state: "detached" });
  assert.deepEqual(faults, []);
});

test("tags of an image are judged on its page", async () => {
  await open("/images/7");
  await page.waitForSelector("text=Stash's image 7");
  assert.deepEqual(plugin.calls, []);
  await page.click(".haven-block button");
  await page.waitForSelector(".haven-list li:has-text('Foul')");
  assert.match(await text(".haven-item"), /Foul91 %added by the plugin.*Offside55 %found, not sure enough \(threshold 70 %\)/);
  await page.click("text=1 tag not found");
  await page.waitForSelector("li:has-text('Goal') >> text=Add tag");
  await picture("image-1200");
  await page.click("[aria-label='Wrong: Foul']");
  await page.waitForSelector("li:has-text('Foul'):has-text('called wrong, stays off')");
  await page.click("[aria-label='Add tag: Offside']");
  await page.waitForSelector(".haven-status:has-text('Saved')");
  const [call] = plugin.calls.filter((one) => one.op === "decide");
  assert.deepEqual([call.kind, call.id, call.decisions.map((one) => [one.kind, one.tag, one.start_s, one.end_s])], ["image", "7", [["wrong", "Foul", 0, 0], ["keep", "Offside", 0, 0]]]);
  assert.deepEqual(await page.evaluate(() => harness.refetched), ["FindImage"]);
  await page.click("[aria-label='Bring back: Foul']");
  await page.waitForSelector("li:has-text('Foul'):has-text('kept by you')");
  await page.waitForSelector(".haven-status:has-text('Saved')");
  await page.click(".haven-item >> text=Undo");
  await page.waitForSelector("li:has-text('Foul'):has-text('called wrong')");
  assert.deepEqual(faults, []);
});

test("a gallery has a block with its tags and a start", async () => {
  await open("/galleries/3");
  await page.waitForSelector("text=Stash's gallery 3");
  assert.deepEqual(plugin.calls, []);
  await page.click(".haven-block button");
  await page.waitForSelector(".haven-list li:has-text('Foul')");
  await page.click("[aria-label='Keep: Foul']");
  await page.waitForSelector("li:has-text('kept by you')");
  await until(() => operations().includes("decide"));
  await page.click("text=Tag the images of 1 gallery");
  await until(() => plugin.tasks.length === 1);
  assert.deepEqual(plugin.tasks[0].args, { mode: "tag_images", galleries: "3" });
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
  const session = await page.context().newCDPSession(page);
  await session.send("Network.clearBrowserCache");
  await open("/scenes/12");
  await page.click("[data-rb-event-key=haven-vlm]");
  await page.waitForSelector(".haven-error:has-text('Haven VLM Connector cannot show this part')");
  await page.click("[data-rb-event-key=details]");
  await page.waitForSelector("text=Stash's details");
});
