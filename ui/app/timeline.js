/** The timeline of a scene: a row for each tag on a canvas, and the frames that were asked. */

import { strength } from "../model/confidence.js";
import { verdict } from "../model/frames.js";
import { clockText } from "../model/time.js";
import { closeUp, extent, lengthOf, moveEnd, pack, rowWindow, stretchAt, ticks } from "../model/timeline.js";
import { playerTime } from "./stash.js";
import { texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").ItemEvidence} ItemEvidence */
/** @typedef {import("../contract").TagEvidence} TagEvidence */
/** @typedef {import("../contract").SpanEvidence} SpanEvidence */
/** @typedef {{row: number, span: number}} Place */
/** @typedef {{start_s: number, end_s: number}} Stretch */
/**
 * @typedef {object} TimelineProps
 * @property {Shell} shell
 * @property {ItemEvidence} evidence
 * @property {Place | null} selected
 * @property {(place: Place) => void} onSelect
 * @property {(seconds: number) => void} onSeek
 */

const React = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi).React;
const h = React.createElement;
const ROW = 32;
const FRAMES_ROW = 16;
const MOST_VISIBLE = 10;
const NEAR_PX = 8;
const POSITION_MS = 250;

/** States in the order of painting: the last one lies on top. */
const PAINTED = ["gone", "wrong", "below", "marker", "kept", "adjusted"];

/** @param {TimelineProps} props */
export function Timeline(props) {
  const { evidence } = props;
  const area = React.useRef(/** @type {HTMLDivElement | null} */ (null));
  const width = useWidth(area);
  const duration = lengthOf(evidence);
  const [top, setTop] = React.useState(0);
  const view = Math.min(evidence.tags.length, MOST_VISIBLE) * ROW;
  const { first, last } = rowWindow(evidence.tags.length, ROW, top, view);
  const rows = evidence.tags.slice(first, last).map((tag, index) =>
    h(Row, { ...props, key: tag.tag, tag, row: first + index, duration, width, top: (first + index) * ROW }),
  );
  const list = React.useRef(/** @type {HTMLDivElement | null} */ (null));
  const chosen = props.selected?.row;
  React.useEffect(() => {
    if (chosen === undefined || !list.current) return;
    const { scrollTop } = list.current;
    list.current.scrollTop = Math.min(chosen * ROW, Math.max(scrollTop, (chosen + 1) * ROW - view));
  }, [chosen, view]);
  const onScroll = (/** @type {any} */ event) => setTop(event.currentTarget.scrollTop);
  return h(
    "div",
    { className: "haven-timeline" },
    h("div", { className: "haven-ruler", ref: area }, h(Ruler, { duration, width })),
    h(Frames, { ...props, duration, width }),
    h(
      "div",
      { className: "haven-rows", ref: list, style: { height: view }, onScroll },
      h("div", { className: "haven-rows-all", style: { height: evidence.tags.length * ROW } }, rows),
    ),
    h(Here, { shell: props.shell, duration, width }),
  );
}

/**
 * Return the width of an element in pixels, also after it has changed.
 * @param {{current: HTMLElement | null}} ref
 */
function useWidth(ref) {
  const [width, setWidth] = React.useState(0);
  React.useLayoutEffect(() => {
    const element = /** @type {HTMLElement} */ (ref.current);
    const measure = () => setWidth(element.clientWidth);
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [ref]);
  return width;
}

/** @param {{duration: number, width: number}} props */
function Ruler({ duration, width }) {
  const marks = ticks(duration, width).map((time) => {
    const left = (time / duration) * width;
    const edge = left > width - 40 ? " is-last" : "";
    return h("span", { key: time, className: `haven-tick${edge}`, style: { left } }, clockText(time));
  });
  return h(React.Fragment, null, marks);
}

/**
 * Paint a canvas whenever its size or what it shows changes.
 * @param {(context: CanvasRenderingContext2D, style: CSSStyleDeclaration) => void} paint
 * @param {number} width
 * @param {number} height
 * @param {readonly unknown[]} shows
 */
function useCanvas(paint, width, height, shows) {
  const ref = React.useRef(/** @type {HTMLCanvasElement | null} */ (null));
  React.useLayoutEffect(() => {
    const canvas = /** @type {HTMLCanvasElement} */ (ref.current);
    const scale = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [Math.max(1, width * scale), height * scale];
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.scale(scale, scale);
    paint(context, getComputedStyle(canvas));
  }, [width, height, ...shows]);
  return ref;
}

/**
 * @param {CSSStyleDeclaration} style
 * @param {string} name
 */
const colour = (style, name) => style.getPropertyValue(`--haven-${name}`).trim() || style.color;

/** @param {TimelineProps & {duration: number, width: number}} props */
function Frames({ evidence, selected, onSeek, duration, width }) {
  const { frames, gaps_s: gaps } = evidence;
  const tag = selected ? evidence.tags[selected.row]?.tag : undefined;
  const ref = useCanvas(
    (context, style) => {
      context.fillStyle = colour(style, "gap");
      for (const [start_s, end_s] of gaps) {
        const { left, size } = extent({ start_s, end_s }, duration, width);
        context.fillRect(left, 0, size, FRAMES_ROW);
      }
      for (const frame of frames) {
        const isPresent = tag ? verdict(frame, tag) : frame.tags.some(([, present]) => present);
        if (isPresent === null) continue;
        dot(context, (frame.time_s / duration) * width, isPresent, style);
      }
    },
    width,
    FRAMES_ROW,
    [frames, gaps, tag, duration],
  );
  const seek = (/** @type {any} */ event) => {
    const time = (event.nativeEvent.offsetX / width) * duration;
    const places = frames.map(({ time_s }) => ({ start_s: time_s, end_s: time_s }));
    const index = stretchAt(places, time, (NEAR_PX / width) * duration);
    onSeek(index < 0 ? time : frames[index].time_s);
  };
  const style = { width, height: FRAMES_ROW };
  return h("canvas", { ref, "aria-hidden": true, className: "haven-frames-row", style, title: texts.frames, onClick: seek });
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} left
 * @param {boolean} isPresent
 * @param {CSSStyleDeclaration} style
 */
function dot(context, left, isPresent, style) {
  context.beginPath();
  context.arc(left, FRAMES_ROW / 2, isPresent ? 3 : 2, 0, 7);
  context.fillStyle = colour(style, isPresent ? "marker" : "no");
  context.fill();
}

/** @param {TimelineProps & {tag: TagEvidence, row: number, duration: number, width: number, top: number}} props */
function Row(props) {
  const { tag, row, duration, width, top, selected, onSelect, onSeek } = props;
  const isSelected = selected?.row === row;
  const chosen = isSelected ? selected.span : -1;
  const lanes = React.useMemo(() => pack(tag.spans), [tag.spans]);
  const ref = useCanvas(
    (context, style) => paintRow(context, style, { spans: tag.spans, lanes, chosen, duration, width }),
    width,
    ROW,
    [tag.spans, chosen, duration],
  );
  const click = (/** @type {any} */ event) => {
    const time = (event.nativeEvent.offsetX / width) * duration;
    const span = stretchAt(tag.spans, time, (NEAR_PX / width) * duration);
    if (span >= 0) onSelect({ row, span });
    else onSeek(time);
  };
  const count = tag.spans.filter((span) => ["marker", "kept", "adjusted"].includes(span.state)).length;
  const below = tag.spans.filter((span) => span.state === "below").length;
  const selectFirst = () => tag.spans.length && onSelect({ row, span: 0 });
  return h(
    "div",
    { className: `haven-row${isSelected ? " is-selected" : ""}`, style: { top } },
    h("button", { type: "button", className: "haven-label", title: tag.tag, "aria-label": texts.row(tag.tag, count, below), onClick: selectFirst }, tag.tag),
    h("canvas", { ref, style: { width, height: ROW }, "aria-hidden": true, onClick: click }),
    h("span", { className: "haven-count" }, count || !below ? count.toLocaleString() : texts.belowOnly(below)),
  );
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {CSSStyleDeclaration} style
 * @param {{spans: readonly SpanEvidence[], lanes: {lanes: number[], count: number}, chosen: number, duration: number, width: number}} row
 */
function paintRow(context, style, { spans, lanes, chosen, duration, width }) {
  const height = (ROW - 6) / lanes.count;
  const bars = spans.map((span, index) => ({ span, index, ...extent(span, duration, width) }));
  for (const state of PAINTED) {
    const fill = colour(style, state);
    for (const bar of bars) {
      if (bar.span.state !== state) continue;
      const tall = Math.max(2, (height - 2) * strength(bar.span.confidence));
      const bottom = 3 + (lanes.lanes[bar.index] + 1) * height;
      paintBar(context, fill, state, { left: bar.left, top: bottom - tall, width: bar.size, height: tall });
    }
  }
  const bar = bars[chosen];
  if (!bar) return;
  context.strokeStyle = style.color;
  context.lineWidth = 2;
  context.strokeRect(Math.max(1, bar.left - 1), 2, bar.size + 2, ROW - 4);
}

/**
 * Paint one bar. What has no marker in Stash is hollow, so that colour alone tells nothing.
 * @param {CanvasRenderingContext2D} context
 * @param {string} fill
 * @param {string} state
 * @param {{left: number, top: number, width: number, height: number}} box
 */
function paintBar(context, fill, state, box) {
  if (["marker", "kept", "adjusted"].includes(state)) {
    context.fillStyle = fill;
    context.fillRect(box.left, box.top, box.width, box.height);
    return;
  }
  context.strokeStyle = fill;
  context.lineWidth = 1;
  context.setLineDash(state === "below" ? [] : [2, 2]);
  context.strokeRect(box.left + 0.5, box.top + 0.5, Math.max(1, box.width - 1), Math.max(1, box.height - 1));
  context.setLineDash([]);
}

/**
 * A close-up of the selected span, with its ends as handles: to drag, or to move with the arrow
 * keys. It shows the same part of the video until the adjustment is over.
 * @param {{evidence: ItemEvidence, tag: string, draft: Stretch, onDraft: (stretch: Stretch) => void}} props
 */
export function CloseUp({ evidence, tag, draft, onDraft }) {
  const area = React.useRef(/** @type {HTMLDivElement | null} */ (null));
  const width = useWidth(area);
  const [part] = React.useState(() => closeUp(draft, evidence.duration_s));
  const scale = width / (part.end_s - part.start_s);
  const frames = evidence.frames.filter(({ time_s }) => part.start_s <= time_s && time_s <= part.end_s);
  const ref = useCanvas(
    (context, style) => {
      for (const frame of frames) {
        const isPresent = verdict(frame, tag);
        if (isPresent !== null) dot(context, (frame.time_s - part.start_s) * scale, isPresent, style);
      }
    },
    width,
    FRAMES_ROW,
    [evidence.frames, tag, part],
  );
  const grip = React.useRef(0); // the pointer's position when the end is at 0
  const [left, right] = [draft.start_s, draft.end_s].map((time) => (time - part.start_s) * scale);
  const make = (/** @type {"start" | "end"} */ end) => {
    const move = (/** @type {number} */ time) => onDraft(moveEnd(draft, end, time, evidence.duration_s));
    const edge = end === "start" ? left : right;
    const take = (/** @type {any} */ event) => {
      event.currentTarget.setPointerCapture(event.pointerId);
      grip.current = event.clientX - edge;
    };
    const drag = (/** @type {any} */ event) => {
      if (!event.currentTarget.hasPointerCapture(event.pointerId)) return;
      move(part.start_s + (event.clientX - grip.current) / scale);
    };
    const key = (/** @type {any} */ event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[/** @type {string} */ (event.key)];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      move(draft[`${end}_s`] + by);
    };
    const text = texts.handle(texts[end]);
    return h("button", {
      type: "button",
      key: end,
      className: `haven-handle is-${end}`,
      title: text,
      "aria-label": text,
      style: { left: edge },
      onPointerDown: take,
      onPointerMove: drag,
      onKeyDown: key,
    });
  };
  return h(
    "div",
    { className: "haven-close-up", ref: area },
    h("canvas", { ref, style: { width, height: FRAMES_ROW } }),
    h("div", { className: "haven-draft", style: { left, width: right - left } }),
    make("start"),
    make("end"),
    h("span", { className: "haven-close-up-ends text-muted" }, h("span", null, clockText(part.start_s)), h("span", null, clockText(part.end_s))),
  );
}

/**
 * The player's position as a line. It reads the player that is there now and then, because Stash
 * makes a new one whenever it likes.
 * @param {{shell: Shell, duration: number, width: number}} props
 */
function Here({ shell, duration, width }) {
  const ref = React.useRef(/** @type {HTMLDivElement | null} */ (null));
  React.useEffect(() => {
    const move = () => {
      const time = playerTime(shell);
      const line = /** @type {HTMLDivElement} */ (ref.current);
      line.hidden = time === null || duration <= 0;
      line.style.setProperty("--haven-left", `${((time ?? 0) / duration) * width}px`);
    };
    move();
    const timer = setInterval(move, POSITION_MS);
    return () => clearInterval(timer);
  }, [shell, duration, width]);
  return h("div", { ref, className: "haven-here", "aria-hidden": true });
}
