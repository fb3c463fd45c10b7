/** Why a run found nothing that became a marker. */

import { STEPS, nearest } from "./effort.js";

/** @typedef {import("../contract").ItemEvidence} ItemEvidence */
/**
 * @typedef {{kind: "unread", count: number, all: number}
 *   | {kind: "threshold", tag: string, start_s: number, end_s: number, confidence: number | null, threshold: number, place: {row: number, span: number}}
 *   | {kind: "silent", frames: number}
 *   | {kind: "effort", effort: number, missed: number}
 *   | {kind: "tags", tags: readonly string[]}} Reason
 */

const MOST_UNREAD = 0.1;

/**
 * Return the possible reasons, the most likely first; none where a span became a marker, or where
 * a person decided something.
 * @param {ItemEvidence} evidence
 * @returns {Reason[]}
 */
export function reasons(evidence) {
  const spans = evidence.tags.flatMap(({ tag, threshold, spans: of }, row) =>
    of.map((one, span) => ({ ...one, tag, threshold, place: { row, span } })),
  );
  if (spans.some(({ state }) => state !== "below")) return [];
  /** @type {Reason[]} */
  const found = [];
  const surest = spans.reduce((/** @type {typeof spans[0] | null} */ best, one) => (best && lack(best) <= lack(one) ? best : one), null);
  if (surest) {
    const { tag, start_s, end_s, confidence, threshold, place } = surest;
    found.push({ kind: "threshold", tag, start_s, end_s, confidence, threshold, place });
  }
  const { frames } = evidence;
  const unread = frames.filter((frame) => !frame.tags.length).length;
  if (unread > MOST_UNREAD * frames.length) found.push({ kind: "unread", count: unread, all: frames.length });
  const judged = frames.length - unread;
  if (judged && !frames.some((frame) => frame.tags.some(([, present]) => present))) found.push({ kind: "silent", frames: judged });
  const effort = evidence.effort ?? 1;
  const { missed } = STEPS[nearest(effort)];
  if (nearest(effort) < STEPS.length - 1) found.push({ kind: "effort", effort, missed });
  if (evidence.tags.length) found.push({ kind: "tags", tags: evidence.tags.map(({ tag }) => tag) });
  return found;
}

/**
 * Return how much confidence a span lacks.
 * @param {{threshold: number, confidence: number | null}} span
 */
const lack = ({ threshold, confidence }) => threshold - (confidence ?? 0);
