/**
 * A first visit by mouse alone, from a server that does not answer to a corrected scene: in Stash's
 * own pages where `PAGES` is their address, else in the harness page with the plugin's operations
 * behind it. Only the address of the server is typed.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

import { OtherStash, serve } from "../harness/server.js";

const { STASH, PAGES, ENDPOINT, SCENE, CHROMIUM, SCREENSHOTS } = process.env;
const stash = new OtherStash(STASH);
const WIDE = { width: 1400, height: 900 };
const NARROW = { width: 400, height: 800 };
let browser, server, page;

before(async () => {
  server = PAGES ? { url: PAGES, close: () => {} } : await serve(() => stash);
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  page = await browser.newPage({ viewport: WIDE });
  page.setDefaultTimeout(60000);
});
after(async () => {
  await browser?.close();
  server.close();
});

/** Take a picture in each size, scrolled to the first element that `top` matches. */
const picture = async (name, top = "html") => {
  if (!SCREENSHOTS) return;
  await page.mouse.move(1, 1);
  for (const [size, viewport] of Object.entries({ 400: NARROW, 1400: WIDE })) {
    await page.setViewportSize(viewport);
    await page.evaluate((selector) => document.querySelector(selector).scrollIntoView(), top);
    await page.waitForTimeout(400);
    await page.screenshot({ path: `${SCREENSHOTS}/${name}-${size}.png` });
  }
};
const button = (name) => page.getByRole("button", { name, exact: true });

/**
 * Press the mouse's button on an element which nothing covers, and let it go after a move.
 * @param {{x?: number, dx?: number}} [place] where: a share of the width; how far the mouse moves
 */
async function press(target, { x = 0.5, dx = 0 } = {}) {
  await target.waitFor();
  const { width, height } = await target.boundingBox();
  await target.click({ trial: true, position: { x: x * width, y: height / 2 } });
  const box = await target.boundingBox();
  const [left, top] = [box.x + x * box.width, box.y + box.height / 2];
  await page.mouse.move(left, top, { steps: 3 });
  await page.mouse.down();
  if (dx) await page.mouse.move(left + dx, top + 2, { steps: 8 });
  await page.mouse.up();
}
/** Return the length of the scene and its markers, as Stash has them. */
async function scene() {
  const query = `query ($id: ID!) { findScene(id: $id) {
    files { duration basename } scene_markers { id seconds end_seconds primary_tag { name } }
  } }`;
  const { data } = await stash.graphql({ query, variables: { id: SCENE } });
  const [{ duration, basename }] = data.findScene.files;
  return { duration, basename, markers: data.findScene.scene_markers };
}
/** Wait until the scene's markers in Stash are as they should be. */
async function until(holds) {
  for (let round = 0; round < 300; round += 1) {
    if (holds((await scene()).markers)) return;
    await page.waitForTimeout(100);
  }
  assert.fail(`never: ${holds}; ${JSON.stringify((await scene()).markers)}`);
}
/** Wait until frames of the video show. */
const frames = () => page.waitForFunction(() => [...document.querySelectorAll(".haven-frame img")].some((one) => one.naturalWidth > 100));
/** Press a marker in the timeline, and wait until its details show. */
async function choose(marker, duration) {
  const name = marker.primary_tag.name;
  const row = page.locator(`.haven-row:has(.haven-label:text-is("${name}")) canvas`);
  await press(row, { x: (marker.seconds + marker.end_seconds) / 2 / duration });
  await page.waitForSelector(`.haven-title:has-text("${name}"):has-text("marker in Stash")`);
}

test("a person gets from an empty set-up to a corrected scene by mouse", async () => {
  await page.goto(`${server.url}/`);
  await page.waitForSelector(".haven-nav", { state: "attached" });
  await press(page.locator(".haven-nav:visible").first());

  await page.waitForSelector(".haven-steps");
  await picture("first");
  await press(button("Check"));
  await page.waitForSelector(".haven-light.is-down");
  await press(button("Edit"));
  await page.fill("#haven-endpoint-0-address", ENDPOINT);
  await press(button("Save and check"));
  await page.waitForSelector(".haven-light.is-sound");
  await press(button("Everything below Game"));
  await press(button("Save the tag list"));
  await page.waitForSelector("text=Set on this page.");
  assert.equal(await page.locator(".haven-steps .is-done").count(), 2);
  await picture("set-up");

  const { duration, basename } = await scene();
  if (PAGES) {
    await press(page.getByText("Choose another scene"));
    await press(page.locator(`.scene-card a:has-text("${basename}")`).first());
  } else await page.goto(`${server.url}/scenes/${SCENE}`);
  await press(page.locator("#operation-menu"));
  await press(page.locator(".dropdown-menu >> text=Tag with VLM…"));
  await page.waitForSelector(".modal:has-text('Adds tags and markers')");
  await page.waitForSelector(".modal .btn-primary:not(:disabled)");
  await picture("dialogue");
  await press(page.locator(".modal").getByRole("button", { name: "Start now", exact: true }));
  await press(page.locator(".modal").getByRole("button", { name: "Close", exact: true }));
  await page.waitForSelector(".haven-ring.is-running", { state: "attached" });
  await press(page.locator("[data-rb-event-key=haven-vlm]"));
  await picture("running");
  await page.waitForSelector(".haven-row");
  await page.waitForSelector(".haven-ring:not(.is-running)", { state: "attached" });

  const { markers: found } = await scene();
  assert.ok(found.length > 1);
  const [other, wrong] = [...found].sort((one, two) => two.end_seconds - two.seconds - one.end_seconds + one.seconds);
  await choose(wrong, duration);
  await frames();
  await picture("scene");
  await press(button("Wrong"));
  await until((now) => !now.some(({ id }) => id === wrong.id));
  await page.waitForSelector(".haven-title:has-text('called wrong')");
  await picture("wrong");

  await choose(other, duration);
  await press(button("Adjust"));
  const [start, end] = await Promise.all(["start", "end"].map((one) => page.locator(`.haven-handle.is-${one}`).boundingBox()));
  const length = end.x - start.x - start.width;
  await press(page.locator(".haven-handle.is-end"), { x: 0.2, dx: -length / 3 });
  await frames();
  await picture("adjust", ".haven-tab");
  await press(button("Done"));
  const near = (one, seconds) => Math.abs(one.end_seconds - seconds) < 0.3;
  const third = other.end_seconds - (other.end_seconds - other.seconds) / 3;
  const adjusted = (now) => now.some((one) => one.seconds === other.seconds && Math.abs(one.end_seconds - third) < 1);
  await until((now) => now.length === found.length - 1 && adjusted(now));
  await page.waitForSelector(".haven-title:has-text('adjusted by you')");
  await press(button("Undo"));
  await until((now) => now.some((one) => one.seconds === other.seconds && near(one, other.end_seconds)));
  await page.waitForSelector(".haven-status:has-text('Saved')");
  await press(button("Undo"));
  await until((now) => now.length === found.length);
  assert.equal(await page.locator(".haven-tab [role=alert]").count(), 0);
});

test("keys do the same, and Stash's own keys of these names do nothing", async () => {
  const { markers: found } = await scene();
  do await page.keyboard.press("k");
  while (!/marker in Stash/.test(await page.textContent(".haven-title")));
  await page.keyboard.press("n");
  await until((now) => now.length === found.length - 1);
  await page.waitForSelector(".haven-title:has-text('called wrong')");
  await page.keyboard.press("u");
  await until((now) => now.length === found.length);
  await page.waitForSelector(".haven-title:has-text('marker in Stash')");
  assert.ok(await page.isVisible("[data-rb-event-key=haven-vlm].active"));
});

test("what was done can be read on the plugin's page", async () => {
  await press(page.locator(".haven-nav:visible").first());
  await press(page.locator(".haven-page nav >> text=Queue"));
  await page.waitForSelector("text=Nothing failed.");
  await picture("queue");
  await press(page.locator(".haven-page nav >> text=Runs"));
  await press(page.locator(".haven-fold-title:has-text('Tag Videos')").first());
  await page.waitForSelector(".haven-items a");
  await picture("runs");
  await press(page.locator(".haven-page nav >> text=Tags"));
  await page.waitForSelector(".haven-results td");
  await picture("tags");
  assert.equal(await page.locator(".haven-page [role=alert]").count(), 0);
});
