import assert from "node:assert/strict";
import test from "node:test";

import { namesOf, needsNames, ownTasks } from "../../../ui/model/jobs.js";
import { filterOf, filterOfRequests, forecastArguments, retries, taskArguments } from "../../../ui/model/scope.js";

const job = (description, status = "RUNNING", progress = null) => ({ id: description, description, status, progress });

test("own tasks are known by their prefix or by a name that no other plugin has", () => {
  const plugins = [
    { id: "ours", tasks: [{ name: "Tag Videos" }, { name: "Preview" }] },
    { id: "other", tasks: [{ name: "Preview" }] },
    { id: "bare", tasks: null },
  ];
  const names = namesOf(plugins, "ours");
  const jobs = [
    job("Running plugin task: Tag Videos", "RUNNING", 0.5),
    job("Running plugin task: Preview"),
    job("Running plugin task: VLM: Tag 3 scenes", "READY"),
    job("Running plugin task: VLM: Preview 3 scenes", "FINISHED"),
    job("Scanning..."),
  ];
  assert.deepEqual(ownTasks(jobs, names).map(({ text, progress }) => [text, progress]), [["Tag Videos", 0.5], ["Tag 3 scenes", null]]);
  assert.equal(needsNames(jobs), true);
  assert.equal(needsNames(jobs.slice(2)), false);
});

test("a scope has the same names for a task and its forecast", () => {
  const filter = { criteria: "{}", search: "final" };
  assert.deepEqual(taskArguments({ kind: "galleries", filter }), { gallery_filter: "{}", search: "final" });
  assert.deepEqual(forecastArguments({ kind: "galleries", filter }), { gallery_filter: "{}", search: "final" });
  assert.deepEqual(taskArguments({ kind: "images", ids: ["7", "8"] }), { images: "7,8" });
  assert.deepEqual(forecastArguments({ kind: "images", ids: ["7", "8"] }), { images: ["7", "8"] });
  assert.deepEqual(taskArguments({ exceptTags: ["Home, sold out"] }), { except_tags: '["Home, sold out"]' });
});

test("a list that does not say what it shows has no filter", () => {
  assert.equal(filterOf({}), null);
  assert.equal(filterOf(undefined), null);
  assert.equal(filterOf({ makeFilter: () => { throw new Error("changed"); } }), null);
  assert.deepEqual(filterOf({ makeFilter: () => ({ organized: true }) }), { criteria: '{"organized":true}', search: "" });
});

test("requests of a page tell its filter only if they agree", () => {
  const request = (organized, page = 1) => ({ queryName: "FindScenes", variables: { filter: { q: "a", page }, scene_filter: { organized } } });
  const other = { queryName: "FindTags", variables: { filter: {} } };
  const byId = { queryName: "FindScenes", variables: { scene_ids: [1] } };
  assert.deepEqual(filterOfRequests([request(true), request(true, 2), other, byId], "scenes"), { criteria: '{"organized":true}', search: "a" });
  assert.equal(filterOfRequests([request(true), request(false)], "scenes"), null);
  assert.equal(filterOfRequests([other, byId], "scenes"), null);
});

test("failed items are tried again by the task in which they failed", () => {
  const items = [{ kind: "scene", id: "1" }, { kind: "image", id: "2" }];
  assert.deepEqual(retries("Tag What Is New", items).map(({ mode }) => mode), ["tag_videos", "tag_images"]);
  assert.deepEqual(retries("Update Tagged Videos", items.slice(0, 1)), [{ mode: "update_videos", scope: { kind: "scenes", ids: ["1"] } }]);
  assert.deepEqual(retries("Undo Last Run", items), []);
});
