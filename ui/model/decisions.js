/**
 * Decisions about the spans of one scene, or the tags of one image or gallery: applied at once to what the page shows, sent together,
 * replaced by what the server answers. Nothing here sends or waits.
 */

/** @typedef {import("../contract").ItemEvidence} ItemEvidence */
/** @typedef {import("../contract").SpanEvidence} SpanEvidence */
/** @typedef {import("../contract").Decision} Decision */
/** @typedef {import("../contract").SpanState} SpanState */

/**
 * `saved`: what the server answered last. `sent`: decisions under way. `waiting`: decisions to send.
 * @typedef {{saved: ItemEvidence, sent: readonly Decision[], waiting: readonly Decision[]}} Review
 */

/** @type {Record<Decision["kind"], SpanState>} */
const STATE_AFTER = { keep: "kept", wrong: "wrong", adjust: "adjusted", bring_back: "kept" };

/** @type {Record<SpanState, readonly Decision["kind"][]>} */
const POSSIBLE = {
  marker: ["keep", "wrong", "adjust"],
  below: ["keep", "wrong", "adjust"],
  kept: ["wrong", "adjust"],
  adjusted: ["wrong", "adjust"],
  wrong: ["bring_back"],
  gone: ["bring_back"],
};

/** @type {readonly Decision["kind"][]} */
const OF_TAGS = ["keep", "wrong", "bring_back"];

/**
 * Return the kinds of decision that a span in this state can get, in the order of their buttons.
 * @param {SpanState} state
 */
export const possible = (state) => POSSIBLE[state];

/**
 * Return the same for a tag of an image or a gallery, which has no ends to move.
 * @param {SpanState} state
 */
export const possibleForTag = (state) => POSSIBLE[state].filter((kind) => OF_TAGS.includes(kind));

/**
 * Return the key of a span within its scene.
 * @param {string} tag
 * @param {{start_s: number, end_s: number}} span
 */
export const spanKey = (tag, span) => `${tag}\n${span.start_s}\n${span.end_s}`;

/**
 * Return a decision about a span. `stretch` is its new place, for "adjust".
 * @param {Decision["kind"]} kind
 * @param {string} tag
 * @param {SpanEvidence} span
 * @param {{start_s: number, end_s: number} | null} [stretch]
 * @returns {Decision}
 */
export function decision(kind, tag, span, stretch = null) {
  const { start_s, end_s, marker_id } = span;
  const place = { new_start_s: stretch?.start_s ?? null, new_end_s: stretch?.end_s ?? null };
  return { kind, tag, start_s, end_s, marker_id, ...place };
}

/**
 * Return the evidence as it is after a decision. A decision about a span that is not there changes
 * nothing.
 * @param {ItemEvidence} evidence
 * @param {Decision} made
 * @returns {ItemEvidence}
 */
export function after(evidence, made) {
  const key = spanKey(made.tag, made);
  const change = (/** @type {SpanEvidence} */ span) =>
    spanKey(made.tag, span) === key ? changed(span, made) : span;
  return {
    ...evidence,
    tags: evidence.tags.map((row) =>
      row.tag === made.tag ? { ...row, spans: row.spans.map(change) } : row,
    ),
  };
}

/**
 * @param {SpanEvidence} span
 * @param {Decision} made
 * @returns {SpanEvidence}
 */
function changed(span, made) {
  return { ...span, ...placeAfter(made), state: STATE_AFTER[made.kind], by_person: true };
}

/**
 * Return a review of evidence that the server gave.
 * @param {ItemEvidence} saved
 * @returns {Review}
 */
export const review = (saved) => ({ saved, sent: [], waiting: [] });

/**
 * Return the evidence to show: what is saved, with every decision that is not saved yet.
 * @param {Review} state
 */
export const visible = (state) => [...state.sent, ...state.waiting].reduce(after, state.saved);

/**
 * Return the review with one more decision to send. One about a span that another waiting decision
 * is about takes its place, so that ten small moves are one write.
 * @param {Review} state
 * @param {Decision} made
 * @returns {Review}
 */
export function add(state, made) {
  const earlier = state.waiting.find((one) => spanKey(one.tag, placeAfter(one)) === spanKey(made.tag, made));
  if (!earlier) return { ...state, waiting: [...state.waiting, made] };
  const others = state.waiting.filter((one) => one !== earlier);
  if (made.kind === "bring_back") return { ...state, waiting: others };
  const { start_s, end_s, marker_id } = earlier;
  return { ...state, waiting: [...others, { ...made, start_s, end_s, marker_id }] };
}

/**
 * Return the stretch of a span after a decision about it.
 * @param {Decision} made
 */
const placeAfter = (made) => ({
  start_s: made.new_start_s ?? made.start_s,
  end_s: made.new_end_s ?? made.end_s,
});

/**
 * Return the review without the last decision that waits.
 * @param {Review} state
 * @returns {Review}
 */
export const takeBack = (state) => ({ ...state, waiting: state.waiting.slice(0, -1) });

/**
 * Return the review with everything that waits under way. At most one group is under way.
 * @param {Review} state
 * @returns {Review}
 */
export function send(state) {
  return state.sent.length ? state : { ...state, sent: state.waiting, waiting: [] };
}

/**
 * Return the review with what was under way among what waits, to be sent again.
 * @param {Review} state
 * @returns {Review}
 */
export const giveBack = (state) => ({ ...state, sent: [], waiting: [...state.sent, ...state.waiting] });

/**
 * Return the review after the server has answered with new evidence. Decisions that were sent are
 * in it or, where it refused them, given up.
 * @param {Review} state
 * @param {ItemEvidence} saved
 * @returns {Review}
 */
export const answered = (state, saved) => ({ ...state, saved, sent: [] });

/**
 * Return the tags whose spans differ between two versions of one scene's evidence.
 * @param {ItemEvidence} before
 * @param {ItemEvidence} now
 */
export function differences(before, now) {
  const text = (/** @type {ItemEvidence} */ evidence) =>
    new Map(evidence.tags.map((row) => [row.tag, fingerprint(row.spans)]));
  const [first, second] = [text(before), text(now)];
  return [...new Set([...first.keys(), ...second.keys()])].filter(
    (tag) => (first.get(tag) ?? "") !== (second.get(tag) ?? ""),
  );
}

/** @param {readonly SpanEvidence[]} spans */
const fingerprint = (spans) =>
  spans
    .map((span) => `${span.start_s} ${span.end_s} ${span.state}`)
    .sort()
    .join("\n");
