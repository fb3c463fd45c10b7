/** The frames that were asked, near a span and about a tag. */

/** @typedef {import("../contract").FrameEvidence} FrameEvidence */

/**
 * Return the frames inside a span, with those next to it on either side, at most `most` of them,
 * spread evenly.
 * @param {readonly FrameEvidence[]} frames ordered by time
 * @param {{start_s: number, end_s: number}} span
 * @param {number} most
 */
export function framesNear(frames, span, most) {
  const begin = frames.findIndex((frame) => frame.time_s >= span.start_s);
  const first = begin < 0 ? frames.length : begin;
  const beyond = frames.findIndex((frame) => frame.time_s > span.end_s);
  const end = beyond < 0 ? frames.length : beyond;
  return spread(frames.slice(Math.max(0, first - 1), end + 1), most);
}

/**
 * Return at most `most` elements, the first and the last among them, evenly spread.
 * @template T
 * @param {readonly T[]} all
 * @param {number} most at least 2
 */
export function spread(all, most) {
  if (all.length <= most) return [...all];
  return Array.from({ length: most }, (_, index) => all[Math.round((index * (all.length - 1)) / (most - 1))]);
}

/**
 * Return the verdict of a frame about a tag: true, false, or null where it was not asked.
 * @param {FrameEvidence} frame
 * @param {string} tag
 */
export function verdict(frame, tag) {
  const found = frame.tags.find(([name]) => name === tag);
  return found ? found[1] : null;
}

/**
 * Return the other tags that were asked in some frames, each with true when one frame has it.
 * @param {readonly FrameEvidence[]} frames
 * @param {string} tag
 */
export function alsoAsked(frames, tag) {
  /** @type {Map<string, boolean>} */
  const found = new Map();
  for (const frame of frames) {
    for (const [name, present] of frame.tags) {
      if (name !== tag) found.set(name, present || (found.get(name) ?? false));
    }
  }
  return [...found];
}
