/**
 * Each view in a real Stash with a large library: it is there within a second of its data. The
 * figures go to the file that `FIGURES` names.
 */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { RealStash } from "../others/stash.js";

const MOST_MS = 1000;
const { SCENE, FIGURES } = process.env;
const stash = new RealStash();
const figures = {};
/** The operations of the plugin that were answered: when, and after how many milliseconds. */
const answers = [];

before(async () => {
  await stash.start();
  stash.page.setDefaultTimeout(120000); // Stash's own page of such a scene takes its time
  stash.page.on("requestfinished", (request) => {
    const op = /"op":"(\w+)"/.exec(request.postData() ?? "")?.[1];
    const { startTime, responseEnd } = request.timing();
    if (op) answers.push({ op, took: Math.round(responseEnd), at: startTime + responseEnd });
  });
});
after(() => stash.close());

const write = () => FIGURES && writeFileSync(FIGURES, JSON.stringify(figures, null, 1));

/** Open a view, wait for what it shows, and check how long that took after the operation's answer. */
async function shown(name, op, path, selector, go, most = MOST_MS) {
  await stash.open(path);
  answers.length = 0;
  await go(stash.page);
  await stash.page.waitForSelector(selector);
  const at = await stash.page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => resolve(performance.timeOrigin + performance.now()))));
  const answer = answers.filter((one) => one.op === op).at(-1);
  figures[name] = { operation_ms: answer?.took, shown_ms: answer && Math.round(at - answer.at) };
  write();
  assert.ok(answer, `${name}: ${op} was not asked`);
  assert.ok(figures[name].shown_ms < most, `${name}: ${JSON.stringify(figures[name])}`);
}
const tab = (name) => async (page) => {
  await page.goto("about:blank");
  answers.length = 0;
  await page.goto(`${process.env.PAGES}/plugins/haven-vlm/${name}`);
};

test("2,000 tags are there in the tree", () => shown("tag tree", "tag_tree", "/", ".haven-tree-row", tab("set-up")));
test("the queue says what waits of 20,000 scenes", () => shown("queue", "status", "/", "text=/300 scenes/", tab("queue")));
test("the queue says how long 300 scenes take", () => shown("forecast", "forecast", "/", ".haven-findings", tab("queue")));
test("runs are there", () => shown("runs", "runs", "/", "text=/No run yet|Runs, the newest/", tab("runs")));
test("the results of tags are there", () => shown("tags", "tag_results", "/", ".haven-page table", tab("tags")));
// Stash's own page of such a scene keeps the browser busy, so that this only says how long it took.
test("1,000 markers of a scene are drawn", () =>
  shown("timeline", "scene", `/scenes/${SCENE}`, ".haven-row", (page) => page.click("[data-rb-event-key=haven-vlm]"), Infinity));
