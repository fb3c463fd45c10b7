import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

import { STEPS, minutesPerHour, nearest, relativeTime } from "../../../ui/model/effort.js";
import { atOnce, isSameAddress, questionsPerSecond, summary, withChange } from "../../../ui/model/endpoints.js";
import { judgeNext, judgements, limits, mostDoubtful } from "../../../ui/model/precision.js";
import { checksOf, coverageOf, endpointsOf, errorWords, isEmptyChange, markerNames, outcomes } from "../../../ui/model/report.js";
import { idsOf, keyIn, shareOf, thresholdIn, toggled, toggledBelow, withIds, withThreshold, withValue } from "../../../ui/model/choices.js";
import { listText, parseList, rows } from "../../../ui/model/tags.js";

const rounded = ({ low, high }) => [Math.round(low * 100), Math.round(high * 100)];

test("few judgements give wide limits", () => {
  assert.deepEqual(rounded(limits(8, 9)), [56, 98]);
  assert.deepEqual(rounded(limits(0, 1)), [0, 79]);
  assert.deepEqual(rounded(limits(1, 1)), [21, 100]);
  assert.deepEqual(rounded(limits(900, 1000)), [88, 92]);
  assert.equal(limits(0, 0), null);
  assert.deepEqual(judgements({ kept: 6, wrong: 1, adjusted: 2 }), { right: 8, judged: 9 });
});

test("the most doubtful tag comes first, one never found last", () => {
  const tag = (name, found, kept, wrong) => ({ name, found, kept, wrong, adjusted: 0 });
  const order = mostDoubtful([tag("a", 0, 0, 0), tag("b", 9, 9, 0), tag("c", 9, 1, 8), tag("d", 5, 0, 0)]);
  assert.deepEqual(order.map(({ name }) => name), ["d", "c", "b", "a"]);
});

test("judgements tell most where much was found and little is known", () => {
  const tag = (name, found, kept, wrong) => ({ name, found, kept, wrong, adjusted: 0 });
  assert.equal(judgeNext([tag("a", 100, 300, 0), tag("b", 20, 0, 0), tag("c", 0, 1, 8)])?.result.name, "b");
  assert.equal(judgeNext([tag("a", 0, 3, 0)]), null);
  assert.equal(judgeNext([]), null);
});

test("the steps of effort are the benchmark's", async () => {
  const docs = await readFile(new URL("../../../docs/benchmarks.md", import.meta.url), "utf8");
  const table = docs.split("### Simulated: all mistakes of the model together")[1].split("\n###")[0];
  for (const { effort, seconds, calls, missed } of STEPS) {
    const line = table.split("\n").find((one) => one.startsWith(effort === 1 ? "| search |" : `| search, effort ${effort} |`));
    const cells = line.split("|").map((cell) => cell.trim());
    assert.deepEqual([cells[2].split(" / ")[1], cells[3], cells[7]], [String(seconds), String(calls), `${missed}%`]);
  }
});

test("an effort is shown at the nearest step", () => {
  assert.deepEqual([0.1, 0.5, 1, 1.2, 10].map((effort) => STEPS[nearest(effort)].effort), [0.12, 0.6, 1, 1, 2.5]);
  assert.equal(relativeTime(nearest(1)), 1);
  assert.equal(minutesPerHour(nearest(1), 0), null);
  assert.equal(minutesPerHour(nearest(1), 888 / 600), 10);
});

test("one endpoint changes, the others keep their keys", () => {
  const endpoint = (address) => ({ name: "", address, key: "set", model: "", weight: 2, is_fallback: false, max_concurrent: null });
  const both = [endpoint("http://a"), endpoint("http://b")];
  const change = { base_url: "http://c", key: "none", was: 1 };
  const view = (list) => list.map(({ base_url, key, was, weight }) => [base_url, key, was, weight]);
  assert.deepEqual(view(withChange(both, 1, change)), [["http://a", "keep", 0, 2], ["http://c", "none", 1, undefined]]);
  assert.deepEqual(view(withChange(both, 2, change)).length, 3);
  assert.deepEqual(view(withChange(both, 0, null)), [["http://b", "keep", 1, 2]]);
  assert.ok(isSameAddress("http://a/v1/", " http://a/v1"));
  assert.ok(!isSameAddress("http://a/v1", "http://a/v2"));
  assert.deepEqual(["", "auto", "4", "0", "many"].map(atOnce), [null, "auto", 4, undefined, undefined]);
});

test("a check becomes one light and one sentence", () => {
  const section = (...findings) => ({ kind: "endpoint", title: "", works: findings.every(({ severity }) => severity !== "wrong"), findings });
  const finding = (severity, what, figures = {}) => ({ severity, what, text: "", figures });
  const sound = section(finding("ok", "reachable"), finding("ok", "test pictures"), finding("ok", "requests at once", { gain: 3 }), finding("ok", "seconds", { alone: 0.5 }));
  const down = section(finding("wrong", "reachable"));
  assert.deepEqual([summary(sound).light, summary(sound).finding.what], ["sound", "test pictures"]);
  assert.equal(summary(down).light, "down");
  assert.equal(summary(section(finding("wrong", "test pictures", { sight: "blind" }))).light, "blind");
  assert.equal(summary(section(finding("wrong", "context"))).light, "wrong");
  assert.equal(summary(section(finding("ok", "reachable"), finding("note", "seconds"))).light, "slow");
  assert.deepEqual([sound, down].map(questionsPerSecond), [6, 0]);
});

test("a report of an older version lacks parts, and reads all the same", () => {
  assert.deepEqual([endpointsOf({}), checksOf({}), coverageOf({}).calls], [[], [], 0]);
  assert.equal(endpointsOf({ endpoints: [{ name: "Desk", calls: 1, share: 1 }] })[0].busy_s, 0);
});

test("outcomes name failures first, and errors are words", () => {
  assert.deepEqual(outcomes({ done: 3, gone: 1, failed: 2 }), [["failed", 2], ["gone", 1], ["done", 3]]);
  assert.equal(errorWords("TimedOutError"), "timed out");
  const change = { tags_added: [], tags_removed: [], markers_added: {}, markers_removed: {}, kept_back: ["x"], stays_off: [], left_alone: [] };
  assert.ok(isEmptyChange(change));
  assert.ok(!isEmptyChange({ ...change, markers_removed: { Foul: 2 } }));
  assert.deepEqual(markerNames({ Foul: 2000 }), ["2,000 markers Foul"]);
});

const tag = (id, name, parents = [], aliases = []) => ({ id, name, aliases, former_names: [], meaning: "", parents, ignore_auto_tag: id === "4", is_chosen: false });
const TREE = [tag("1", "Game"), tag("2", "Foul", ["1"], ["Personal foul"]), tag("3", "Goal", ["1", "4"]), tag("4", "Highlight")];

test("the tag list survives its text form", () => {
  const text = listText(["Foul", "Goal"], { Foul: "a player: fouled" });
  assert.equal(text, "Foul: a player: fouled\nGoal");
  assert.deepEqual(parseList(`${text}\n\n goal \n`), [{ name: "Foul", meaning: "a player: fouled" }, { name: "Goal", meaning: "" }]);
});

const GAME = { id: "1", name: "Game" };
const ALL = { ...GAME, below: true };
const wanted = (choices, respects = false) => [...idsOf(choices, TREE, respects).wanted];

test("a tag is chosen alone, or everything below it without it", () => {
  assert.deepEqual(wanted(toggled([], TREE, GAME)), ["1"]);
  assert.deepEqual(wanted(toggledBelow([], TREE, GAME)), ["2", "3"]);
  assert.deepEqual(wanted([GAME, ALL]), ["1", "2", "3"]);
  assert.deepEqual(toggled([GAME, ALL], TREE, GAME), [ALL]);
  assert.deepEqual(toggledBelow([GAME, ALL], TREE, GAME), [GAME]);
});

test("a click on a covered tag leaves it out, a second takes it in", () => {
  const out = toggled([ALL], TREE, { id: "3", name: "Goal" });
  assert.deepEqual(out, [ALL, { id: "3", name: "Goal", leave_out: true }]);
  assert.deepEqual(wanted(out), ["2"]);
  assert.deepEqual(toggled(out, TREE, { id: "3", name: "Goal" }), [ALL]);
  assert.deepEqual(toggledBelow(out, TREE, GAME), []);
});

test("ignore auto tag counts on request", () => {
  assert.deepEqual([wanted([{ id: "4" }]), wanted([{ id: "4" }], true)], [["4"], []]);
});

test("entries get the ids and present names of their tags", () => {
  assert.deepEqual(withIds(["personal  FOUL", { id: "3", name: "Old" }, { id: "9", name: "Gone" }], TREE), [
    { id: "2", name: "Foul" }, { id: "3", name: "Goal" }, { id: "9", name: "Gone" },
  ]);
});

test("a threshold keeps the rest of a rule, and follows a name", () => {
  const rules = { foul: { MaxGap: "5s", TagThreshold: 0.7 }, Goal: { TagThreshold: 0.2 } };
  assert.equal(thresholdIn(rules, ["Infringement", "Foul"]), 0.7);
  assert.deepEqual(withThreshold(rules, ["Foul"], null), { Goal: rules.Goal, foul: { MaxGap: "5s" } });
  assert.deepEqual(withThreshold(rules, ["Goal"], null), { foul: rules.foul });
  assert.deepEqual(withThreshold(rules, ["Infringement", "Foul"], 0.9), { Goal: rules.Goal, Infringement: { MaxGap: "5s", TagThreshold: 0.9 } });
  assert.equal(keyIn({ Foul: "", Goal: "" }, ["goal", "foul"]), "Goal");
  assert.deepEqual(withValue({ Foul: "a" }, ["foul"], "b"), { Foul: "b" });
  assert.deepEqual(["70", " 7,5 %", "", "101", "many"].map(shareOf), [0.7, 0.075, null, undefined, undefined]);
});

test("a tag with two parents is a row below each", () => {
  const names = (found) => found.map(({ tag: { name }, level }) => [name, level]);
  assert.deepEqual(names(rows(TREE, new Set(), "")), [["Game", 0], ["Highlight", 0]]);
  assert.deepEqual(names(rows(TREE, new Set(["/1", "/4"]), "")), [["Game", 0], ["Foul", 1], ["Goal", 1], ["Highlight", 0], ["Goal", 1]]);
  assert.deepEqual(names(rows(TREE, new Set(), "PERSONAL")), [["Foul", 0]]);
});
