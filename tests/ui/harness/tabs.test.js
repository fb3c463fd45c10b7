import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { item, run } from "./operations.js";
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

const open = (tab) => page.goto(`${server.url}/plugins/haven-vlm${tab}`);
const ended = () => page.waitForSelector(".haven-ring:not(.is-running)");
const sent = (op) => plugin.calls.filter((call) => call.op === op);
const card = (text) => page.locator(`.haven-endpoint:has-text("${text}")`);
const button = (server, name) => card(server).getByRole("button", { name, exact: true });
const picture = async (name) => {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/${name}.png`, fullPage: true });
};
/** Wait until a call of this operation came, and return the changes that it carried, by name. */
async function changes() {
  for (let round = 0; round < 600 && !sent("change_settings").length; round += 1) await page.waitForTimeout(50);
  const [call] = plugin.calls.filter((one) => one.op === "change_settings").slice(-1);
  return Object.fromEntries(call.changes.map(({ name, value }) => [name, value === null ? null : JSON.parse(value)]));
}

test("the page has addresses of its own, also for nothing", async () => {
  await open("");
  await page.waitForSelector("h4:has-text('Servers')");
  assert.equal(await page.title(), "Haven VLM Connector");
  await open("/nowhere");
  await page.click("text=Back");
  await page.waitForSelector("h4:has-text('Servers')");
  await page.click("text=Queue");
  await page.waitForSelector("text=3 scenes and 1 image are queued.");
  assert.match(page.url(), /\/plugins\/haven-vlm\/queue$/);
  await page.click("text=home");
  await page.waitForFunction(() => document.title === "");
  assert.deepEqual(faults, []);
});

test("a check gives each server its light and the sentence behind it", async () => {
  await open("");
  await button("Desk", "Check").click();
  await card("Desk").locator(".haven-light.is-sound").waitFor();
  assert.match(await card("Desk").textContent(), /works.*key set.*model qwen3-vl-8b.*sound: 10 of 10 right/s);
  await button("Attic", "Check").click();
  await card("Attic").locator(".haven-light.is-down").waitFor();
  assert.match(await card("Attic").textContent(), /cannot be reached.*fallback.*refused the connection/s);
  await card("Desk").locator("text=4 findings").click();
  await page.waitForSelector(".haven-findings:has-text('0.5 for a question alone')");
  // 888 questions at 4 a second
  await page.waitForSelector("text=About 4 minutes for each hour of video on your servers, and about 12 % of short events missed");
  await picture("set-up-1200");
  assert.deepEqual(faults, []);
});

test("a server that was added is checked at once, and its key is never shown", async () => {
  await open("");
  await page.click("text=Add a server");
  await page.fill("text=Address", "http://new:1234/v1");
  await page.click("text=set a new key");
  await page.fill("[type=password]", "sk-secret");
  await page.click("text=Save and check");
  await page.locator(".haven-endpoint:has-text('http://new:1234/v1') .haven-light.is-sound").waitFor();
  const { ENDPOINTS } = await changes();
  assert.deepEqual(ENDPOINTS.map(({ base_url, key, was }) => [base_url, key, was]), [
    ["http://desk:1234/v1", "keep", 0],
    ["http://attic:11434/v1", "keep", 1],
    ["http://new:1234/v1", { set: "sk-secret" }, null],
  ]);
  assert.deepEqual(sent("check").map((call) => call.endpoint), [2]);
  assert.doesNotMatch(await page.content(), /sk-secret/);
  assert.deepEqual(faults, []);
});

test("a server that moves does not keep its key", async () => {
  await open("");
  await button("Desk", "Edit").click();
  await page.waitForSelector("text=keep the stored key");
  await page.fill("text=Address", "http://elsewhere:1234/v1");
  await page.waitForSelector("text=A stored key stays with its address");
  assert.equal(await page.locator("text=keep the stored key").count(), 0);
  await page.click("text=Save and check");
  const { ENDPOINTS } = await changes();
  assert.deepEqual([ENDPOINTS[0].key, ENDPOINTS[0].was], ["none", 0]);
});

test("a model is chosen from what the server offers", async () => {
  await open("");
  await button("Desk", "Edit").click();
  const blind = page.locator("button:has-text('llama-3 (sees no pictures)')");
  assert.ok(await blind.isDisabled());
  await page.fill("#haven-endpoint-0-model", "");
  await page.click("button:has-text('qwen3-vl-8b (sees pictures)')");
  await picture("endpoint-1200");
  await page.click("text=Save and check");
  assert.equal((await changes()).ENDPOINTS[0].model_id, "qwen3-vl-8b");
  await button("Attic", "Remove").click();
  await page.click("text=Remove Attic");
  await page.waitForFunction(() => document.querySelectorAll(".haven-endpoint").length === 1);
  assert.deepEqual(faults, []);
});

const treeRow = (name) => page.locator(`.haven-tree-row:has-text("${name}")`);
const box = (name) => treeRow(name).locator("input");
const below = (name) => page.getByRole("button", { name: `Everything below ${name}`, exact: true });

test("tags are chosen from Stash's tree, alone or with all below", async () => {
  await open("");
  await treeRow("Game").waitFor();
  assert.deepEqual(await page.locator(".haven-tree-row label").allTextContents(), ["Game", "Highlight"]);
  await box("Game").click();
  assert.equal(await page.inputValue("#haven-tags"), ""); // the example does not count any more
  await page.waitForSelector("text=Looked for: 1 tag");
  await box("Game").click();
  await below("Game").click();
  await page.waitForSelector("text=Looked for: 3 tags");
  assert.ok(await box("Game").evaluate((one) => one.indeterminate && !one.checked));
  await page.click("[aria-label='Tags below Game']");
  await box("Timeout").click();
  await treeRow("Timeout").locator("text=left out").waitFor();
  await page.click("text=Save the tag list");
  const STASH_TAGS = [{ id: "1", name: "Game", below: true }, { id: "5", name: "Timeout", leave_out: true }];
  assert.deepEqual(await changes(), { STASH_TAGS });
  await page.waitForSelector("text=Set on this page.");
  assert.ok(await box("Foul").isChecked());
  await picture("wanted-1200");
  assert.deepEqual(faults, []);
});

test("ignore auto tag and a search narrow what is looked for", async () => {
  await open("");
  await below("Game").click();
  await page.waitForSelector("text=Looked for: 3 tags");
  await page.click("label[for=haven-respects]");
  await page.waitForSelector("text=Looked for: 2 tags");
  await page.fill("#haven-tree-filter", "personal");
  assert.deepEqual(await page.locator(".haven-tree-row label span:first-of-type").allTextContents(), ["Foul"]);
  assert.equal(await page.locator(".haven-wanted-row").count(), 1);
  await page.click("text=Save the tag list");
  assert.equal((await changes()).RESPECT_IGNORE_AUTO_TAG, true);
});

test("each tag has its threshold and the words that the model is told", async () => {
  await open("");
  await treeRow("Game").waitFor();
  const threshold = page.getByLabel("Threshold of Foul in percent");
  assert.deepEqual([await threshold.inputValue(), await threshold.getAttribute("placeholder")], ["", "50"]);
  await threshold.focus();
  await page.keyboard.type("70");
  await page.keyboard.press("ArrowUp");
  await page.locator(".haven-wanted-row .haven-label").first().focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("text=Also counts as an answer: Personal foul");
  assert.equal(await page.getAttribute(".haven-meaning a", "href"), "/stash/tags/2");
  await page.fill("#haven-tags", "Goal");
  await below("Game").click();
  await page.locator(".haven-wanted-row .haven-label:has-text('Foul')").click();
  await page.locator(".haven-wanted-row .haven-label:has-text('Foul')").click();
  assert.equal(await page.inputValue("#haven-meaning"), "a player is fouled");
  await page.fill("#haven-meaning", "the referee signals");
  await page.waitForSelector("text=Take Stash's text");
  await page.click("text=Save the tag list");
  const { TAG_RULES, TAG_DESCRIPTIONS } = await changes();
  assert.deepEqual(TAG_RULES, { Foul: { MaxGap: "5s", TagThreshold: 0.71 } });
  assert.deepEqual(TAG_DESCRIPTIONS, { Foul: "the referee signals" });
  assert.deepEqual(faults, []);
});

test("what became of a chosen tag in Stash is said", async () => {
  plugin.page.notes = ["'Dunk': Stash has no such tag; it may have been deleted."];
  await open("");
  await page.waitForSelector(".haven-tag-note:has-text('Dunk')");
});

test("the slider says what an effort costs, and is moved by key", async () => {
  await open("");
  await page.focus("[type=range]");
  await page.keyboard.press("ArrowRight");
  await page.waitForSelector("text=About 118 % of the usual time, and about 9 % of short events missed");
  await page.click(".haven-section:has([type=range]) >> text=Save");
  assert.deepEqual(await changes(), { VIDEO_SEARCH_EFFORT: 1.6 });
});

test("other settings are folded away, and each says where it comes from", async () => {
  await open("");
  await page.click("text=5 more settings");
  await page.waitForSelector("text=Set in: Stash's settings page: Threshold.");
  assert.ok(await page.locator("#haven-setting-API_KEY").isDisabled());
  await page.fill("#haven-setting-VIDEO_THRESHOLD", "0.7");
  await page.click(".haven-setting:has-text('VIDEO_THRESHOLD') >> text=Save");
  assert.deepEqual(await changes(), { VIDEO_THRESHOLD: 0.7 });
  await page.click(".haven-setting:has-text('VIDEO_THRESHOLD') >> text=Reset");
  await page.waitForFunction(() => !document.querySelector(".haven-page").textContent.includes("Reset"));
  assert.deepEqual(await changes(), { VIDEO_THRESHOLD: null });
  await page.click("text=CREATE_MARKERS");
  await page.waitForFunction(() => !document.querySelector("#haven-setting-CREATE_MARKERS").checked);
  assert.deepEqual(faults, []);
});

test("settings of an earlier plugin are shown before they are taken over", async () => {
  await open("");
  await page.click("text=Take over settings of an earlier plugin");
  const file = (text) => page.setInputFiles("#haven-earlier", { name: "haven_vlm_config.py", mimeType: "text/plain", buffer: Buffer.from(text) });
  plugin.refusals.push("settings");
  await file("nothing");
  await page.waitForSelector("text=refused: settings");
  await file('TAG_LIST = ["Penalty"]');
  await page.waitForSelector("text=VIDEO_THRESHOLD is left out");
  assert.deepEqual(sent("earlier_settings").map(({ write }) => write), [false, false]);
  await page.click("text=Take over 1 setting");
  await page.waitForSelector("text=These settings are taken over.");
  assert.deepEqual(sent("earlier_settings").at(-1), { op: "earlier_settings", revision: 0, text: 'TAG_LIST = ["Penalty"]', write: true });
  await page.waitForFunction(() => /** @type {any} */ (document.querySelector("#haven-tags")).value.includes("Penalty"));
  assert.deepEqual(faults, []);
});

test("the last change of the settings is undone, and brought back", async () => {
  await open("");
  assert.equal(await page.locator("text=Undo the last change").count(), 0);
  await page.focus("[type=range]");
  await page.keyboard.press("ArrowRight");
  await page.click(".haven-section:has([type=range]) >> text=Save");
  await page.waitForSelector("text=Undo the last change of settings");
  await page.click("text=Undo the last change of settings");
  for (let round = 0; round < 600 && !sent("undo_settings").length; round += 1) await page.waitForTimeout(50);
  assert.deepEqual(sent("undo_settings").map(({ revision }) => revision), [1]);
  plugin.refusals.push("changed");
  await page.click("text=Undo the last change of settings");
  await page.waitForSelector("[role=alert]:has-text('changed in another place')");
  assert.deepEqual(faults, []);
});

test("a field of Stash's page that comes first is named", async () => {
  plugin.page.values[0].source = "Tags on the settings page";
  plugin.page.values[0].hides = ["settings.json in the data folder: TAG_LIST"];
  await open("");
  await page.waitForSelector("text=TAG_LIST: Tags on the settings page is used, and hides settings.json in the data folder: TAG_LIST.");
  assert.deepEqual(faults, []);
});

test("the default server's name goes when its address does", async () => {
  plugin.page.endpoints = [{ name: "LM Studio", address: "http://localhost:1234/v1", key: "none", model: "", weight: 1, is_fallback: false, max_concurrent: null }];
  await open("");
  await button("LM Studio", "Edit").click();
  await page.fill("#haven-endpoint-0-address", "http://desk:8080/v1");
  assert.equal(await page.inputValue("#haven-endpoint-0-name"), "");
  await page.fill("#haven-endpoint-0-address", "http://localhost:1234/v1");
  assert.equal(await page.inputValue("#haven-endpoint-0-name"), "LM Studio");
  await page.fill("#haven-endpoint-0-name", "Desk");
  await page.fill("#haven-endpoint-0-address", "http://desk:8080/v1");
  assert.equal(await page.inputValue("#haven-endpoint-0-name"), "Desk");
  assert.deepEqual(faults, []);
});

test("settings that changed elsewhere are shown, and nothing is overwritten", async () => {
  await open("");
  await page.fill("#haven-tags", "Timeout");
  plugin.refusals.push("changed");
  await page.click("text=Save the tag list");
  await page.waitForSelector("[role=alert]:has-text('changed in another place')");
  assert.equal(await page.inputValue("#haven-tags"), "Timeout");
  assert.equal(sent("settings").length, 2);
});

test("a first visit is led through three steps", async () => {
  plugin.page.runs = [];
  await open("");
  await page.waitForSelector(".haven-steps");
  assert.equal(await page.locator(".haven-steps .is-done").count(), 0);
  await button("Desk", "Check").click();
  await page.waitForSelector(".haven-steps .is-done");
  await page.fill("#haven-tags", "Foul");
  await page.click("text=Save the tag list");
  await page.waitForFunction(() => document.querySelectorAll(".haven-steps .is-done").length === 2);
  await picture("first-1200");
  await page.click("text=Choose another scene");
  await page.waitForSelector("text=Card 12");
  assert.deepEqual(faults, []);
});

for (const isBare of [false, true]) {
  test(`one button of a first visit does all${isBare ? ", packages included" : ""}`, async () => {
    plugin.page.runs = [];
    plugin.needsPackages = isBare;
    plugin.lasts = 2;
    await open("");
    await page.waitForSelector(".haven-steps:has-text('Cup final')");
    assert.equal(await page.isVisible("text=first installs the Python packages"), isBare);
    assert.equal(await page.locator("[role=alert]").count(), 0);
    await page.fill("#haven-first-server", "http://tower:1234/v1");
    await page.fill("#haven-first-tags", "Foul: a player hits, hard\nGoal, Turnover");
    if (isBare) await picture("bare-1200");
    await page.click("text=Save, check and tag this scene");
    await page.click("text=See what was found");
    await page.waitForURL("**/scenes/13");
    const modes = plugin.tasks.map(({ args }) => args.mode);
    assert.deepEqual(modes, isBare ? ["check_setup", "tag_videos"] : ["tag_videos"]);
    assert.equal(plugin.tasks.at(-1).args.scenes, "13");
    const [{ changes }] = sent("change_settings");
    const [{ base_url, key, was }] = JSON.parse(changes[0].value);
    assert.deepEqual({ base_url, key, was }, { base_url: "http://tower:1234/v1", key: "none", was: 0 });
    assert.deepEqual(JSON.parse(changes[1].value), ["Foul", "Goal", "Turnover"]);
    assert.deepEqual(JSON.parse(changes[2].value), { Foul: "a player hits, hard" });
    assert.equal(await page.locator("[role=alert]").count(), 0);
  });
}

test("a server that fails ends a first visit with the reason", async () => {
  plugin.page.runs = [];
  plugin.page.endpoints = plugin.page.endpoints.filter(({ name }) => name === "Attic");
  await open("");
  await page.fill("#haven-first-tags", "Foul");
  await page.click("text=Save, check and tag this scene");
  await page.waitForSelector(".haven-steps [role=alert]");
  assert.equal(plugin.tasks.length, 0);
  assert.ok(await page.isEnabled("text=Save, check and tag this scene"));
});

test("a part that fails says so with a retry, and the rest stays", async () => {
  plugin.failing.add("tag_tree");
  await open("");
  await page.waitForSelector("[role=alert]:has-text('refused: stash')");
  assert.ok(await page.isVisible("#haven-tags"));
  plugin.failing.clear();
  await page.click("text=Try again");
  await page.waitForSelector(".haven-tree-row");
  assert.equal(await page.locator("[role=alert]").count(), 0);
});

test("a plugin that cannot run leaves a retry, not a blank page", async () => {
  plugin.isBroken = true;
  for (const tab of ["", "/queue", "/runs", "/tags"]) {
    await open(tab);
    await page.waitForSelector("[role=alert]:has-text('error running plugin')");
  }
  plugin.isBroken = false;
  await page.click("text=Try again");
  await page.waitForSelector("table");
});

test("the queue says what waits and starts a task that can be stopped", async () => {
  await open("/queue");
  await page.waitForSelector("text=about 40 minutes (30 minutes to 1 hour)");
  assert.match(await page.textContent(".haven-cause"), /1 item failed: .*cannot be read.*semi final.mp4/s);
  assert.equal(await page.getAttribute(".haven-cause a", "href"), "/stash/scenes/13");
  await picture("queue-1200");
  await page.selectOption(".haven-order select", "shortest");
  await page.click("button:has-text('Preview')");
  await page.waitForSelector("[role=status]:has-text('Preview: 25 %')");
  assert.deepEqual(plugin.tasks.map((task) => task.args), [{ mode: "preview", order: "shortest" }]);
  await page.click("text=Stop");
  await page.waitForSelector("[role=alert]:has-text('The task was stopped.')");
  await ended();
  assert.equal(sent("status").length, 2);
  assert.deepEqual(faults, []);
});

test("tasks that were started elsewhere show, and can be stopped", async () => {
  plugin.queue("Tag Videos", { lasts: 40 });
  plugin.queue("Preview");
  plugin.queue("VLM: Tag 3 scenes");
  plugin.queue("Clean up");
  await open("/queue");
  await page.waitForSelector("[role=status]:has-text('Tag Videos: ')");
  await page.waitForSelector(".haven-ring.is-running");
  assert.deepEqual(await page.locator("[role=status] p").allTextContents().then((lines) => lines.map((one) => one.replace(/\d+/, "N"))), ["Tag Videos: N %", "Tag N scenes waits in Stash's queue."]);
  await picture("queue-tasks-1200");
  await page.click("[role=status]:has-text('Tag Videos') >> text=Stop");
  await page.waitForSelector("[role=status]:has-text('Tag Videos')", { state: "detached" });
  assert.deepEqual(plugin.jobs.map(({ status }) => status === "CANCELLED"), [true, false, false, false]);
  assert.deepEqual(faults, []);
});

test("what failed is tried again after a forecast", async () => {
  await open("/queue");
  await page.click("text=Try what failed again …");
  await page.waitForSelector(".modal:has-text('Tag 1 scene') >> text=about 40 minutes");
  assert.deepEqual(sent("forecast").at(-1), { op: "forecast", scenes: ["13"] });
  await page.click(".modal >> text=Start now");
  await page.waitForSelector(".modal:has-text('The task is queued')");
  assert.deepEqual(plugin.tasks.map((task) => task.args), [{ mode: "tag_videos", scenes: "13" }]);
  assert.deepEqual(faults, []);
});

test("everything that is not tagged starts after a count", async () => {
  await open("/queue");
  await page.click("text=Everything that is not tagged yet");
  await page.waitForSelector(".haven-fold-body >> text=3 videos and 1 images");
  await page.fill("#haven-picker", "personal");
  await page.click(".haven-picker button:has-text('Foul')");
  await page.waitForSelector(".haven-fold-body >> text=0 videos");
  assert.deepEqual(sent("forecast").at(-1), { op: "forecast", is_new: true, except_tags: ["Foul"] });
  assert.ok(await page.isDisabled("button:has-text('Start now')"));
  await picture("everything-1200");
  await page.click("[aria-label='Do not leave out Foul']");
  await page.fill("#haven-picker", "nothing like it");
  await page.waitForSelector("text=Stash has no such tag.");
  await page.click("button:has-text('Start now'):enabled");
  await page.waitForSelector("[role=status]:has-text('Tag what is new')");
  assert.deepEqual(plugin.tasks, [{ plugin: "ahavenvlmconnector", description: "VLM: Tag what is new", args: { mode: "tag_new", except_tags: "[]" } }]);
  assert.deepEqual(faults, []);
});

test("runs unfold into their reports, failures first", async () => {
  await open("/runs");
  assert.match(await page.textContent(".haven-fold-title"), /Tag Videos.*1 failed3 done.*1,204 calls, 371 model seconds/);
  await page.click(".haven-fold-title:has-text('Tag Videos')");
  await page.waitForSelector(".haven-items");
  assert.deepEqual(await page.locator(".haven-items li > a").allTextContents(), ["semi final.mp4", "Final", "Team", "image 8"]);
  assert.match(await page.textContent(".haven-facts"), /Desk: 1,204 calls, 100 % of all.*2 timed out/);
  await page.waitForSelector("text=1,290 of 1,300 frames judged");
  await page.waitForSelector(".haven-items li:has-text('semi final.mp4'):has-text('cannot be read: no such file. Set Paths.')");
  await page.click(".haven-fold-title:has-text('Check Set-up')");
  await page.waitForSelector(".haven-findings:has-text('sound: 10 of 10 right')");
  await picture("runs-1200");
  await page.click("text=Undo the last run …");
  await page.click("text=Undo the last run >> visible=true");
  await page.waitForSelector("text=The last run is undone.");
  assert.deepEqual(plugin.tasks.map((task) => task.args), [{ mode: "undo_last_run" }]);
  await page.click(".haven-found >> text=12:00");
  await page.waitForSelector("text=Stash's details");
  assert.match(page.url(), /\/scenes\/12\?t=720$/);
  assert.deepEqual(faults, []);
});

test("one item of a run is undone after the page has said what that takes back", async () => {
  await open("/runs");
  await page.click(".haven-fold-title:has-text('Tag Videos')");
  const final = page.locator(".haven-items li:has-text('Final'):not(:has-text('semi'))");
  await final.locator("text=Undo …").waitFor();
  assert.equal(await page.locator(".haven-items li >> text=Undo …").count(), 3);
  await final.locator("text=Undo …").click();
  await final.locator("text=Removes: Foul, Goal, VLM_Tagged, 2 markers Foul, 1 marker Goal").waitFor();
  await final.locator("text=Puts back: VLM_TagMe").waitFor();
  await final.locator("text=somebody has changed it since").waitFor();
  await final.locator("text=is undone as well: Run 9 (Update Tagged Videos").waitFor();
  assert.deepEqual(sent("preview_undo").map(({ run, kind, id }) => [run, kind, id]), [[7, "scene", "12"]]);
  await picture("undo-item-1200");
  await final.locator("text=Cancel").click();
  assert.deepEqual(plugin.tasks, []);
  await final.locator("text=Undo …").click();
  plugin.page.undone.add("12");
  await final.locator("text=Undo this run on this scene").click();
  await final.locator("text=This is undone.").waitFor();
  await page.click("text=Undo this run on 2 items …");
  await page.click("text=Undo this run >> visible=true >> nth=-1");
  await ended();
  assert.deepEqual(plugin.tasks.map((task) => task.args), [
    { mode: "undo_last_run", run: "7", scenes: "12" },
    { mode: "undo_last_run", run: "7" },
  ]);
  assert.deepEqual(faults, []);
});

test("a run's previews are asked for, and its full report is a tab of its own", async () => {
  await open("/runs");
  await page.click(".haven-fold-title:has-text('Tag Videos')");
  await page.click("text=Make previews for its markers …");
  await page.waitForSelector("text=for the markers of this run, and for no others");
  await page.click("text=Make previews >> visible=true");
  await page.waitForSelector("text=The previews are in Stash's queue of jobs.");
  assert.deepEqual(plugin.tasks.map((task) => task.args), [{ mode: "marker_previews", run: "7" }]);
  const [tab] = await Promise.all([page.waitForEvent("popup"), page.click("text=Open the full report")]);
  await tab.waitForSelector("h1:has-text('Everything of this run')");
  assert.deepEqual(faults, []);
});

test("thousands of runs and items come a page at a time", async () => {
  plugin.page.runs = [...plugin.page.runs, ...Array.from({ length: 1998 }, (_, index) => run(`old ${index}`, "Preview", 400 + index, "done"))];
  plugin.page.moreItems = Array.from({ length: 20000 }, (_, index) => item("image", String(index + 100), `Image ${index}`));
  await open("/runs");
  await page.waitForSelector(".haven-fold");
  assert.equal(await page.locator(".haven-fold").count(), 50);
  await page.click("text=Older runs");
  await page.waitForFunction(() => document.querySelectorAll(".haven-fold").length === 100);
  assert.deepEqual(sent("runs").map((call) => call.page), [0, 1]);
  await page.click(".haven-fold-title:has-text('Tag Videos')");
  await page.waitForSelector(".haven-items li");
  assert.equal(await page.locator(".haven-items li").count(), 100);
  await page.click("text=Show more of 19,904 items");
  await page.waitForFunction(() => document.querySelectorAll(".haven-items li").length === 200);
  assert.deepEqual(faults, []);
});

test("tags say how often they were right, and how sure that is", async () => {
  await open("/tags");
  await page.waitForSelector(".haven-threshold");
  const rows = await page.locator("tbody tr").allTextContents();
  assert.deepEqual(rows, [
    "Break-away4not judged yet%",
    "Foul238 of 9 judged right: between 56 % and 98 %%",
    "Goal4030 of 30 judged right: between 89 % and 100 %%",
    "Turnover0not judged yet50 %",
  ]);
  assert.equal(await page.getByLabel("Threshold of Foul in percent").inputValue(), "70");
  await picture("tags-1200");
});

test("the least sure moments are one click away", async () => {
  await open("/tags");
  await page.waitForSelector("text=Where to look next: Foul. 23 finds are not judged yet");
  await page.click("button:has-text('The ten least sure of Foul')");
  await page.waitForSelector(".haven-least li");
  assert.deepEqual(await page.locator(".haven-least li").allTextContents(), ["Final, 12:04 Foul, 51 %"]);
  assert.equal(await page.getAttribute(".haven-least a", "href"), "/stash/scenes/12?t=724");
  await page.click("button:has-text('The ten least sure of all')");
  await page.waitForFunction(() => document.querySelectorAll(".haven-least li").length === 2);
  await picture("least-sure-1200");
  assert.deepEqual(faults, []);
});

test("a threshold is changed beside its results", async () => {
  await open("/tags");
  await page.fill("[aria-label='Threshold of Foul in percent']", "80");
  await page.click("text=Save the thresholds");
  assert.deepEqual(await changes(), { TAG_RULES: { Foul: { MaxGap: "5s", TagThreshold: 0.8 } } });
  await page.waitForFunction(() => !document.body.textContent.includes("Save the thresholds"));
  assert.deepEqual(faults, []);
});

test("every tab fits a phone", async () => {
  await page.setViewportSize({ width: 400, height: 800 });
  for (const tab of ["/set-up", "/queue", "/runs", "/tags"]) {
    await open(tab);
    await page.waitForSelector(".haven-section, .haven-fold, table");
    if (tab === "/set-up") {
      await button("Desk", "Check").click();
      await card("Desk").locator(".is-sound").waitFor();
      await page.waitForSelector(".haven-tree-row");
      await button("Attic", "Edit").click();
    }
    if (tab === "/runs") await page.click(".haven-fold-title >> nth=0");
    await page.waitForTimeout(100);
    await picture(`page${tab.replace("/", "-")}-400`);
    const wide = await page.evaluate(() => [...document.querySelectorAll(".haven-page *")].filter((one) => !one.closest(".haven-scroll") && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.className));
    assert.deepEqual(wide, [], tab);
  }
});

test("2,000 tags are there at once, a dozen rows at a time", async () => {
  plugin.page.tags = Array.from({ length: 2000 }, (_, index) => ({ id: String(index), name: `Tag ${index}`, aliases: [], meaning: "", parents: index < 40 ? [] : [String(index % 40)], former_names: [], ignore_auto_tag: false, is_chosen: false }));
  await open("");
  await page.waitForSelector(".haven-tree-row");
  assert.ok((await page.locator(".haven-tree-row").count()) < 20);
  for (const index of [0, 1, 10]) await page.click(`[aria-label='Everything below Tag ${index}']`);
  await page.waitForSelector("text=Looked for: 147 tags");
  await page.waitForSelector("text=So many tags make every question long");
  assert.deepEqual(faults, []);
});
