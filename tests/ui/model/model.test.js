import assert from "node:assert/strict";
import test from "node:test";

import { confidenceWords, percentText, strength } from "../../../ui/model/confidence.js";
import * as decisions from "../../../ui/model/decisions.js";
import { alsoAsked, framesNear, spread, verdict } from "../../../ui/model/frames.js";
import { agoText, clockText, clockTexts, stretchText } from "../../../ui/model/time.js";
import { harder } from "../../../ui/model/effort.js";
import { reasons } from "../../../ui/model/reasons.js";
import { closeUp, extent, lengthOf, moveEnd, pack, rowWindow, stretchAt, ticks } from "../../../ui/model/timeline.js";
import { below, childrenOf, states } from "../../../ui/model/tree.js";

const span = (start_s, end_s, state = "marker", confidence = 0.9) => ({
  start_s, end_s, confidence, state, marker_id: state === "marker" ? "7" : null, by_person: false,
});
const evidence = (...tags) => ({
  kind: "scene", id: "1", effort: 1, revision: 4, title: "", duration_s: 600, looked_at: 1, model: "", task: "",
  tags: tags.map(([tag, ...spans]) => ({ tag, in_stash: tag, threshold: 0.5, spans })),
  frames: [], gaps_s: [], note: "",
});

test("times read as people write them", () => {
  assert.deepEqual([0, 7.9, 724, 3723].map(clockText), ["0:00", "0:07", "12:04", "1:02:03"]);
  assert.deepEqual(clockTexts([26.2, 27.1, 27.96, 29]), ["0:26", "0:27.1", "0:27.9", "0:29"]);
  assert.equal(stretchText(724, 751), "12:04 – 12:31");
  assert.equal(stretchText(724.1, 724.8), "12:04");
  const ages = [20, 60, 4000, 86400, 200000];
  assert.deepEqual(
    ages.map((age) => agoText(1e6 - age, 1e6)),
    ["just now", "1 minute ago", "1 hour ago", "yesterday", "2 days ago"],
  );
});

test("a confidence is never 0 or 100 percent", () => {
  assert.deepEqual([0, 0.004, 0.5, 0.999, 1, null].map(percentText), ["1 %", "1 %", "50 %", "99 %", "99 %", ""]);
  assert.deepEqual([0.95, 0.7, 0.5, 0.1, null].map(confidenceWords), [
    "very likely", "likely", "uncertain", "unlikely", "not rated",
  ]);
  assert.ok(strength(0) > 0.3 && strength(0.5) < strength(0.9) && strength(null) === 1);
});

test("ticks are round, start at 0 and never crowd", () => {
  for (const [duration, width] of [[7, 300], [600, 280], [3600, 300], [20000, 900], [400000, 300]]) {
    const marks = ticks(duration, width);
    assert.equal(marks[0], 0);
    assert.ok(marks.at(-1) <= duration && marks.length >= 2);
    assert.ok(((marks[1] - marks[0]) / duration) * width >= 64);
  }
  assert.deepEqual(ticks(0, 300), []);
  assert.deepEqual(ticks(600, 0), []);
});

test("stretches in one lane never overlap", () => {
  let seed = 5;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const all = Array.from({ length: 400 }, () => random() * 1000)
    .sort((one, other) => one - other)
    .map((start_s) => ({ start_s, end_s: start_s + random() * 9 }));
  const { lanes, count } = pack(all);
  all.forEach((one, index) =>
    all.slice(index + 1).forEach((other, step) => {
      if (other.start_s < one.end_s) assert.notEqual(lanes[index], lanes[index + 1 + step]);
    }),
  );
  assert.equal(count, Math.max(...lanes) + 1);
  assert.deepEqual(pack([]), { lanes: [], count: 1 });
});

test("a bar can be seen and stays inside the timeline", () => {
  assert.deepEqual(extent(span(300, 360), 600, 300), { left: 150, size: 30 });
  assert.deepEqual(extent(span(599.9, 600), 600, 300), { left: 297, size: 3 });
  assert.deepEqual(extent(span(0, 900), 600, 300), { left: 0, size: 300 });
});

test("a click takes the span below it, else the nearest", () => {
  const all = [span(0, 100), span(50, 60), span(200, 210)];
  assert.deepEqual([55, 20, 105, 150, 196].map((time) => stretchAt(all, time, 5)), [1, 0, 0, -1, 2]);
});

test("only the rows in view are drawn", () => {
  assert.deepEqual(rowWindow(200, 32, 0, 320), { first: 0, last: 11 });
  assert.deepEqual(rowWindow(200, 32, 3200, 320), { first: 99, last: 111 });
  assert.deepEqual(rowWindow(3, 32, 0, 96), { first: 0, last: 3 });
  assert.deepEqual(rowWindow(0, 32, 0, 0), { first: 0, last: 0 });
});

test("a moved end stays inside the video and behind the other", () => {
  assert.deepEqual(moveEnd(span(10, 20), "start", 12.34, 600), { start_s: 12.3, end_s: 20 });
  assert.deepEqual(moveEnd(span(10, 20), "start", 50, 600), { start_s: 19.5, end_s: 20 });
  assert.deepEqual(moveEnd(span(10, 20), "start", -5, 600), { start_s: 0, end_s: 20 });
  assert.deepEqual(moveEnd(span(10, 20), "end", 5, 600), { start_s: 10, end_s: 10.5 });
  assert.deepEqual(moveEnd(span(10, 20), "end", 900, 600), { start_s: 10, end_s: 600 });
});

test("a close-up holds a stretch and room on both sides", () => {
  assert.deepEqual(closeUp(span(100, 140), 600), { start_s: 60, end_s: 180 });
  assert.deepEqual(closeUp(span(5, 6), 600), { start_s: 0, end_s: 21 });
  assert.deepEqual(closeUp(span(590, 600), 600), { start_s: 575, end_s: 600 });
});

test("frames near a span have one on either side", () => {
  const frames = [0, 5, 10, 15, 20, 25].map((time_s) => ({
    time_s, tags: [["Foul", time_s === 10, 0.8], ["Goal", time_s === 15, null]],
  }));
  const times = (start, end, most = 8) => framesNear(frames, span(start, end), most).map((frame) => frame.time_s);
  assert.deepEqual(times(9, 16), [5, 10, 15, 20]);
  assert.deepEqual(times(0, 30), [0, 5, 10, 15, 20, 25]);
  assert.deepEqual(times(11, 12), [10, 15]);
  assert.deepEqual(times(26, 30), [25]);
  assert.deepEqual(times(0, 30, 3), [0, 15, 25]);
  assert.deepEqual(spread([1, 2], 8), [1, 2]);
  assert.deepEqual([verdict(frames[2], "Foul"), verdict(frames[0], "Foul"), verdict(frames[0], "Turnover")], [true, false, null]);
  assert.deepEqual(alsoAsked(frames, "Foul"), [["Goal", true]]);
  assert.deepEqual(alsoAsked(frames.slice(0, 2), "Foul"), [["Goal", false]]);
});

test("a decision shows before it is saved", () => {
  const [foul, goal] = [span(10, 20), span(30, 40, "below")];
  const made = decisions.decision("wrong", "Foul", foul);
  const state = decisions.add(decisions.review(evidence(["Foul", foul], ["Goal", goal])), made);
  const [row, other] = decisions.visible(state).tags;
  assert.deepEqual([row.spans[0].state, other.spans[0].state], ["wrong", "below"]);
  assert.equal(state.saved.tags[0].spans[0].state, "marker");
  const sent = decisions.send(state);
  assert.deepEqual([sent.sent, sent.waiting], [[made], []]);
  assert.deepEqual(decisions.visible(sent), decisions.visible(state));
  assert.equal(decisions.visible(decisions.answered(sent, sent.saved)).tags[0].spans[0].state, "marker");
});

test("what is decided while others are sent waits", () => {
  const [foul, goal] = [span(10, 20), span(30, 40)];
  const start = decisions.review(evidence(["Foul", foul], ["Goal", goal]));
  const sent = decisions.send(decisions.add(start, decisions.decision("wrong", "Foul", foul)));
  const more = decisions.add(sent, decisions.decision("keep", "Goal", goal));
  assert.equal(decisions.send(more), more);
  const saved = decisions.after(more.saved, more.sent[0]);
  const rest = decisions.answered(more, saved);
  assert.deepEqual([rest.sent.length, rest.waiting.length], [0, 1]);
  assert.deepEqual(decisions.visible(rest).tags.map((row) => row.spans[0].state), ["wrong", "kept"]);
  assert.deepEqual(decisions.visible(decisions.takeBack(rest)).tags[1].spans[0].state, "marker");
});

test("ten small moves of one span are one write", () => {
  const foul = span(10, 20);
  let state = decisions.review(evidence(["Foul", foul]));
  for (let step = 1; step <= 10; step += 1) {
    const [current] = decisions.visible(state).tags[0].spans;
    const stretch = { start_s: 10, end_s: 20 + step };
    state = decisions.add(state, decisions.decision("adjust", "Foul", current, stretch));
  }
  assert.deepEqual(state.waiting, [
    { kind: "adjust", tag: "Foul", start_s: 10, end_s: 20, marker_id: "7", new_start_s: 10, new_end_s: 30 },
  ]);
  const [moved] = decisions.visible(state).tags[0].spans;
  assert.deepEqual([moved.start_s, moved.end_s, moved.state], [10, 30, "adjusted"]);
});

test("wrong and brought back before it was sent is nothing", () => {
  const foul = span(10, 20);
  let state = decisions.add(decisions.review(evidence(["Foul", foul])), decisions.decision("wrong", "Foul", foul));
  const [current] = decisions.visible(state).tags[0].spans;
  state = decisions.add(state, decisions.decision("bring_back", "Foul", current));
  assert.deepEqual(state.waiting, []);
  assert.deepEqual(decisions.visible(state), state.saved);
});

test("every state offers a way on, and wrong one back", () => {
  for (const state of ["marker", "below", "kept", "adjusted", "wrong", "gone"]) {
    assert.ok(decisions.possible(state).length > 0);
  }
  assert.deepEqual(decisions.possible("wrong"), ["bring_back"]);
});

test("what could not be sent waits in its order", () => {
  const [foul, goal] = [span(10, 20), span(30, 40)];
  const first = decisions.add(decisions.review(evidence(["Foul", foul], ["Goal", goal])), decisions.decision("wrong", "Foul", foul));
  const second = decisions.add(decisions.send(first), decisions.decision("keep", "Goal", goal));
  const back = decisions.giveBack(second);
  assert.deepEqual([back.sent, back.waiting.map((one) => one.tag)], [[], ["Foul", "Goal"]]);
});

test("a tag of an image has no ends to move", () => {
  assert.deepEqual(decisions.possibleForTag("marker"), ["keep", "wrong"]);
  assert.deepEqual(decisions.possibleForTag("gone"), ["bring_back"]);
});

test("a timeline without a known length ends with the last thing on it", () => {
  const seen = { ...evidence(["Foul", span(10, 20)]), frames: [{ time_s: 31, tags: [] }] };
  assert.equal(lengthOf(seen), 600);
  assert.equal(lengthOf({ ...seen, duration_s: 0 }), 31);
  assert.equal(lengthOf({ ...evidence(), duration_s: 0 }), 0);
});

test("harder steps say what they cost and miss", () => {
  assert.deepEqual(harder(1).map((step) => [step.effort, step.more]), [[1.6, 172], [2.5, 385]]);
  assert.deepEqual(harder(2.5), []);
});

test("a scene with a marker, or with a decision, needs no reason", () => {
  assert.deepEqual(reasons(evidence(["Foul", span(10, 20)])), []);
  assert.deepEqual(reasons(evidence(["Foul", span(10, 20, "wrong")])), []);
  const kinds = (found) => reasons(found).map(({ kind }) => kind);
  assert.deepEqual(kinds(evidence(["Foul", span(10, 20, "below", 0.4)])), ["threshold", "effort", "tags"]);
  assert.deepEqual(kinds({ ...evidence(["Foul"]), effort: 2.5, frames: [{ time_s: 1, tags: [["Foul", false, 0]] }] }), ["silent", "tags"]);
  assert.deepEqual(kinds({ ...evidence(["Foul"]), effort: 2.5, frames: [{ time_s: 1, tags: [] }] }), ["unread", "tags"]);
});

test("differences name the tags whose spans differ", () => {
  const before = evidence(["Foul", span(10, 20)], ["Goal", span(1, 2), span(3, 4)]);
  const now = evidence(["Foul", span(10, 21)], ["Goal", span(3, 4), span(1, 2)], ["Turnover", span(5, 6)]);
  assert.deepEqual(decisions.differences(before, now), ["Foul", "Turnover"]);
  assert.deepEqual(decisions.differences(before, before), []);
});

const TREE = [
  { id: "1", name: "Sport", parents: [] },
  { id: "2", name: "Basketball", parents: ["1"] },
  { id: "3", name: "Football", parents: ["1"] },
  { id: "4", name: "Foul", parents: ["2", "3"] },
  { id: "5", name: "Goal", parents: ["3", "99"] },
];

test("a tag with two parents has one state below both", () => {
  assert.deepEqual(childrenOf(TREE).get("1"), ["2", "3"]);
  assert.deepEqual(childrenOf(TREE).get(""), ["1"]);
  assert.deepEqual([...below(childrenOf(TREE), "3")], ["3", "4", "5"]);
  const known = states(TREE, new Set(["4"]));
  assert.deepEqual([...known.values()].sort(), ["all", "none", "some", "some", "some"]);
  assert.equal(states(TREE, new Set(["3", "4"])).get("3"), "all");
  assert.equal(known.get("4"), "all");
  assert.equal(known.get("5"), "none");
});

test("a tree of 2,000 tags is one pass", () => {
  const tags = Array.from({ length: 2000 }, (_, index) => ({
    id: String(index), name: `Tag ${index}`, parents: index ? [String(Math.floor((index - 1) / 3))] : [],
  }));
  const chosen = below(childrenOf(tags), "0");
  assert.equal(chosen.size, 2000);
  assert.ok([...states(tags, chosen).values()].every((state) => state === "all"));
});
