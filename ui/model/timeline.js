/** The geometry of a timeline: ticks, lanes, and the span below a pointer. */

/** @typedef {{start_s: number, end_s: number}} Stretch */

const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];

/**
 * Return the length of a timeline in seconds: that of the video, or, where Stash does not know it,
 * up to the last thing on it.
 * @param {{duration_s: number, tags: readonly {spans: readonly Stretch[]}[], frames: readonly {time_s: number}[]}} evidence
 */
export function lengthOf({ duration_s, tags, frames }) {
  if (duration_s > 0) return duration_s;
  const ends = tags.flatMap(({ spans }) => spans.map(({ end_s }) => end_s));
  return [...ends, ...frames.map(({ time_s }) => time_s)].reduce((last, time) => Math.max(last, time), 0);
}

/**
 * Return the times of the ticks: round steps, at least `gap` pixels apart.
 * @param {number} duration seconds
 * @param {number} width pixels
 * @param {number} [gap]
 */
export function ticks(duration, width, gap = 64) {
  if (duration <= 0 || width <= 0) return [];
  const least = (duration * gap) / width;
  const step = STEPS_S.find((size) => size >= least) ?? Math.ceil(least / 14400) * 14400;
  return Array.from({ length: Math.floor(duration / step) + 1 }, (_, index) => index * step);
}

/**
 * Return the lane of each stretch, so that stretches in one lane never overlap, and the number of
 * lanes. Stretches are ordered by start; each takes the first free lane.
 * @param {readonly Stretch[]} stretches
 */
export function pack(stretches) {
  /** @type {number[]} */
  const ends = [];
  const lanes = stretches.map(({ start_s, end_s }) => {
    const free = ends.findIndex((end) => end <= start_s);
    const lane = free < 0 ? ends.length : free;
    ends[lane] = end_s;
    return lane;
  });
  return { lanes, count: Math.max(1, ends.length) };
}

/**
 * Return the left edge and the width of a stretch in pixels, at least `least` wide and inside the
 * timeline.
 * @param {Stretch} stretch
 * @param {number} duration
 * @param {number} width
 * @param {number} [least]
 */
export function extent(stretch, duration, width, least = 3) {
  const scale = duration > 0 ? width / duration : 0;
  const size = Math.min(width, Math.max(least, (stretch.end_s - stretch.start_s) * scale));
  return { left: Math.min(Math.max(0, stretch.start_s * scale), width - size), size };
}

/**
 * Return the index of the stretch that holds `time`, else of the nearest within `tolerance`
 * seconds, else -1. Of several that hold it, the one that starts last.
 * @param {readonly Stretch[]} stretches
 * @param {number} time
 * @param {number} tolerance
 */
export function stretchAt(stretches, time, tolerance) {
  let [best, distance] = [-1, tolerance];
  stretches.forEach(({ start_s, end_s }, index) => {
    const away = Math.max(start_s - time, time - end_s, 0);
    if (away <= distance) [best, distance] = [index, away];
  });
  return best;
}

/**
 * Return the first and the last row to draw of a scrolled list, with one more on either side.
 * @param {number} count
 * @param {number} height of a row
 * @param {number} top scrolled so far
 * @param {number} view height of the visible part
 */
export function rowWindow(count, height, top, view) {
  const first = Math.max(0, Math.min(count - 1, Math.floor(top / height)) - 1);
  return { first, last: Math.min(count, Math.ceil((top + view) / height) + 1) };
}

/**
 * Return the part of the video in which the ends of a stretch are moved: the stretch with its own
 * length, at least 15 seconds, on either side.
 * @param {Stretch} stretch
 * @param {number} duration
 */
export function closeUp({ start_s, end_s }, duration) {
  const margin = Math.max(15, end_s - start_s);
  const last = duration > 0 ? duration : Infinity;
  return { start_s: Math.max(0, start_s - margin), end_s: Math.min(last, end_s + margin) };
}

/**
 * Return both ends after one was moved to `time`: inside the video, at least `least` apart, in
 * tenths of a second.
 * @param {Stretch} stretch
 * @param {"start" | "end"} end
 * @param {number} time
 * @param {number} duration
 * @param {number} [least]
 */
export function moveEnd(stretch, end, time, duration, least = 0.5) {
  const moved = Math.round(time * 10) / 10;
  if (end === "start") {
    const start_s = Math.max(0, Math.min(moved, stretch.end_s - least));
    return { start_s, end_s: stretch.end_s };
  }
  const last = duration > 0 ? duration : Infinity;
  return { start_s: stretch.start_s, end_s: Math.min(last, Math.max(moved, stretch.start_s + least)) };
}
