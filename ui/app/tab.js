/** The scene's tab: what was found, whether it is right, and how to put it right. */

import { percentText, confidenceWords } from "../model/confidence.js";
import { possible } from "../model/decisions.js";
import { alsoAsked, framesNear, verdict } from "../model/frames.js";
import { agoText, clockTexts, stretchText } from "../model/time.js";
import { moveEnd } from "../model/timeline.js";
import { TagAgain, useAgain } from "./again.js";
import { Emptiness } from "./emptiness.js";
import { Status } from "./parts.js";
import { Pictures } from "./pictures.js";
import { useReview } from "./review.js";
import { play, playerTime } from "./stash.js";
import { decisionText, stateText, texts } from "./texts.js";
import { CloseUp, Timeline } from "./timeline.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../plugin-api").Scene} Scene */
/** @typedef {import("../contract").ItemEvidence} ItemEvidence */
/** @typedef {import("../contract").SpanEvidence} SpanEvidence */
/** @typedef {import("../contract").Decision} Decision */
/** @typedef {ReturnType<typeof useAgain>} Again */
/** @typedef {{row: number, span: number}} Place */
/** @typedef {{start_s: number, end_s: number}} Stretch */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const h = React.createElement;
const MOST_FRAMES = 8;

/** @param {{shell: Shell, scene: Scene, setTimestamp?: (seconds: number) => void}} props */
export default function Tab({ shell, scene, setTimestamp }) {
  const review = useReview(shell, "scene", scene.id);
  const again = useAgain(shell, review);
  const [selected, setSelected] = React.useState(/** @type {Place | null} */ (null));
  const [draft, setDraft] = React.useState(/** @type {Stretch | null} */ (null));
  const root = React.useRef(/** @type {HTMLDivElement | null} */ (null));
  const { evidence } = review;
  const tag = selected ? evidence?.tags[selected.row] : undefined;
  const span = selected ? tag?.spans[selected.span] : undefined;
  const seek = (/** @type {number} */ seconds) => (setTimestamp ?? ((at) => play(shell, at)))(seconds);

  const select = (/** @type {Place} */ place) => {
    setSelected(place);
    setDraft(null);
    const found = evidence?.tags[place.row]?.spans[place.span];
    if (found) seek(found.start_s);
  };
  const step = (/** @type {number} */ by) => {
    const place = evidence && neighbour(evidence, selected, by);
    if (place) select(place);
  };
  const decide = (/** @type {Decision["kind"]} */ kind, /** @type {Stretch | null} */ stretch = null) => {
    if (!tag || !span || !possible(span.state).includes(kind)) return;
    if (kind === "adjust" && !stretch) return setDraft({ start_s: span.start_s, end_s: span.end_s });
    setDraft(null);
    review.decide(kind, tag.tag, span, stretch);
    root.current?.focus({ preventScroll: true });
  };
  const moveHere = (/** @type {"start" | "end"} */ end) => {
    const time = playerTime(shell);
    if (time === null || !span || !evidence) return;
    decide("adjust", moveEnd(draft ?? span, end, time, evidence.duration_s));
  };
  const actions = {
    j: () => step(1),
    k: () => step(-1),
    y: () => decide(span?.state === "gone" ? "bring_back" : "keep"),
    n: () => decide("wrong"),
    u: () => void review.undo(),
    "[": () => moveHere("start"),
    "]": () => moveHere("end"),
    Escape: () => setDraft(null),
    " ": () => span && play(shell, span.start_s),
  };
  useKeys(actions, !!span);

  const body = evidence
    ? h(
        React.Fragment,
        null,
        evidence.tags.length > 0 &&
          h(Timeline, { shell, evidence, selected, onSelect: select, onSeek: seek }),
        evidence.tags.length > 0 && h(Legend, { hasGaps: evidence.gaps_s.length > 0 }),
        h(Emptiness, { shell, evidence, again, onSelect: select }),
        tag && span
          ? h(Detail, { shell, scene, evidence, tag, span, draft, decide, setDraft, moveHere, seek })
          : evidence.tags.length > 0 && h("p", { className: "text-muted" }, texts.select),
      )
    : !review.fault && h("p", { className: "text-muted" }, texts.loading);
  return h(
    "div",
    { className: "haven-tab", ref: root, tabIndex: -1, "aria-label": texts.timeline },
    h(Header, { shell, review, again, step, hasSpans: !!evidence?.tags.some((row) => row.spans.length) }),
    review.fault && h("p", { className: "text-danger", role: "alert" }, review.fault),
    body,
  );
}

/**
 * Return the span that comes next, or before, in the order of time.
 * @param {ItemEvidence} evidence
 * @param {Place | null} selected
 * @param {number} by
 * @returns {Place | null}
 */
function neighbour(evidence, selected, by) {
  const places = evidence.tags.flatMap((tag, row) =>
    tag.spans.map(({ start_s }, span) => ({ row, span, start_s })),
  );
  places.sort((one, other) => one.start_s - other.start_s || one.row - other.row || one.span - other.span);
  const index = places.findIndex(({ row, span }) => row === selected?.row && span === selected.span);
  return places[index < 0 ? (by > 0 ? 0 : places.length - 1) : index + by] ?? null;
}

/**
 * Bind keys while the tab shows. They come first: Stash's own keys of the same name would act too.
 * @param {Record<string, () => unknown>} actions
 * @param {boolean} hasSpan
 */
function useKeys(actions, hasSpan) {
  const latest = React.useRef(actions);
  latest.current = actions;
  React.useEffect(() => {
    const press = (/** @type {KeyboardEvent} */ event) => {
      const action = latest.current[event.key];
      if (!action || event.ctrlKey || event.altKey || event.metaKey || isTyping(event.target)) return;
      if (event.key === " " && !(hasSpan && isQuiet(event.target))) return;
      if (document.querySelector(".modal")) return;
      event.preventDefault();
      event.stopPropagation();
      action();
    };
    document.addEventListener("keydown", press, true);
    return () => document.removeEventListener("keydown", press, true);
  }, [hasSpan]);
}

/** @param {EventTarget | null} target */
const isTyping = (target) =>
  target instanceof HTMLElement &&
  (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));

/**
 * Return true when the space key would press nothing else.
 * @param {EventTarget | null} target
 */
const isQuiet = (target) =>
  target instanceof HTMLElement && !target.closest("button, [role=button], video, .video-js");

/** @param {{shell: Shell, review: import("./review.js").ItemReview, again: Again, step: (by: number) => void, hasSpans: boolean}} props */
function Header({ shell, review, again, step, hasSpans }) {
  const { evidence } = review;
  const quiet = { className: "minimal", variant: "secondary", size: "sm" };
  return h(
    "div",
    { className: "haven-header" },
    h("span", { className: "haven-summary" }, evidence && summary(evidence)),
    h(Status, { review }),
    hasSpans && h(Button, { ...quiet, title: texts.previous, "aria-label": texts.previous, onClick: () => step(-1) }, "‹"),
    hasSpans && h(Button, { ...quiet, title: texts.next, "aria-label": texts.next, onClick: () => step(1) }, "›"),
    hasSpans && h(Button, { ...quiet, title: texts.undoHelp, onClick: () => review.undo() }, texts.undo),
    review.fault && h(Button, { ...quiet, onClick: () => review.load() }, texts.reload),
    h(TagAgain, { shell, evidence, again }),
    again.note && h("span", { className: "haven-note", role: "status" }, again.note),
  );
}

/** @param {ItemEvidence} evidence */
function summary(evidence) {
  if (evidence.looked_at === null) return "";
  const spans = evidence.tags.map((tag) => tag.spans.filter((span) => isMarker(span)).length);
  const found = texts.found(spans.filter(Boolean).length, spans.reduce((sum, count) => sum + count, 0));
  const effort = evidence.effort && evidence.effort !== 1 ? texts.effort(evidence.effort) : "";
  const ago = agoText(evidence.looked_at, Date.now() / 1000);
  return [found, evidence.model, effort, ago].filter(Boolean).join(" · ");
}

/** @param {SpanEvidence} span */
const isMarker = (span) => ["marker", "kept", "adjusted"].includes(span.state);

/** @param {{hasGaps: boolean}} props */
function Legend({ hasGaps }) {
  const kinds = /** @type {const} */ (["marker", "below", "wrong", ...(hasGaps ? ["gap"] : [])]);
  return h(
    "div",
    { className: "haven-legend text-muted" },
    kinds.map((kind) =>
      h("span", { key: kind }, h("i", { className: `is-${kind}` }), texts.legend[/** @type {"marker"} */ (kind)]),
    ),
  );
}

/**
 * @typedef {object} DetailProps
 * @property {Shell} shell
 * @property {Scene} scene
 * @property {ItemEvidence} evidence
 * @property {import("../contract").TagEvidence} tag
 * @property {SpanEvidence} span
 * @property {Stretch | null} draft
 * @property {(kind: Decision["kind"], stretch?: Stretch | null) => void} decide
 * @property {(draft: Stretch | null) => void} setDraft
 * @property {(end: "start" | "end") => void} moveHere
 * @property {(seconds: number) => void} seek
 */

/** @param {DetailProps} props */
function Detail(props) {
  const { shell, scene, evidence, tag, span, draft, decide, seek } = props;
  const near = React.useMemo(() => framesNear(evidence.frames, span, MOST_FRAMES), [evidence.frames, span.start_s, span.end_s]);
  const times = clockTexts(near.map(({ time_s }) => time_s));
  const frames = near.map((frame, index) => ({ time_s: frame.time_s, text: `${times[index]}${answer(verdict(frame, tag.tag))}` }));
  const also = alsoAsked(near, tag.tag);
  const stretch = draft ?? span;
  const facts = [
    span.confidence === null ? "" : `${percentText(span.confidence)}, ${confidenceWords(span.confidence)}`,
    stateText[span.state],
    span.state === "below" ? texts.threshold(percentText(tag.threshold)) : "",
    span.state === "marker" && span.by_person ? texts.byPerson : "",
  ];
  const buttons = possible(span.state).map((kind) => {
    const [label, title] = decisionText(kind, span.state);
    return h(Button, { key: kind, size: "sm", variant: "secondary", title, onClick: () => decide(kind) }, label);
  });
  return h(
    "section",
    { className: `haven-detail is-${span.state}`, "aria-live": "polite" },
    h(
      "div",
      { className: "haven-title" },
      h("strong", null, `${tag.in_stash || tag.tag} `),
      h("span", null, stretchText(stretch.start_s, stretch.end_s)),
      h("span", { className: "text-muted" }, ` ${facts.filter(Boolean).join(" · ")}`),
    ),
    h(
      "div",
      { className: "haven-buttons" },
      h(Button, { size: "sm", variant: "secondary", title: texts.playHelp, onClick: () => play(shell, span.start_s) }, texts.play),
      draft ? h(Adjusting, { ...props, draft }) : buttons,
    ),
    draft && h(CloseUp, { evidence, tag: tag.tag, draft, onDraft: props.setDraft }),
    h(Pictures, { shell, scene, frames, onSeek: seek }),
    also.length > 0 &&
      h("p", { className: "text-muted" }, texts.also, also.map(([name, present]) => `${name} (${present ? texts.yes : texts.no})`).join(", ")),
  );
}

/** @param {boolean | null} found */
const answer = (found) => (found === null ? "" : ` ${found ? texts.yes : texts.no}`);

/** @param {DetailProps & {draft: Stretch}} props */
function Adjusting({ evidence, draft, decide, setDraft, moveHere }) {
  const quiet = { size: "sm", variant: "secondary" };
  const nudge = (/** @type {"start" | "end"} */ end, /** @type {number} */ by) => {
    const text = texts.nudge(texts[end], by);
    const move = () => setDraft(moveEnd(draft, end, draft[`${end}_s`] + by, evidence.duration_s));
    return h(Button, { ...quiet, key: text, onClick: move }, text);
  };
  return h(
    React.Fragment,
    null,
    nudge("start", -1),
    nudge("start", 1),
    h(Button, { ...quiet, title: texts.startHereHelp, onClick: () => moveHere("start") }, texts.startHere),
    nudge("end", -1),
    nudge("end", 1),
    h(Button, { ...quiet, title: texts.endHereHelp, onClick: () => moveHere("end") }, texts.endHere),
    h(Button, { size: "sm", variant: "primary", onClick: () => decide("adjust", draft) }, texts.done),
    h(Button, { ...quiet, onClick: () => setDraft(null) }, texts.cancel),
  );
}
