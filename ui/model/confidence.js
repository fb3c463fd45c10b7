/** Confidences, from 0 to 1 or null where none is known, as people read and see them. */

/**
 * Return a rounded percentage. It never reads 0 % or 100 %, which nothing that was seen deserves.
 * @param {number | null} confidence
 */
export function percentText(confidence) {
  if (confidence === null) return "";
  return `${Math.min(99, Math.max(1, Math.round(confidence * 100)))} %`;
}

/**
 * Return a confidence in one or two words.
 * @param {number | null} confidence
 */
export function confidenceWords(confidence) {
  if (confidence === null) return "not rated";
  if (confidence >= 0.9) return "very likely";
  if (confidence >= 0.7) return "likely";
  return confidence >= 0.4 ? "uncertain" : "unlikely";
}

/**
 * Return the share of a row's height that a bar fills, from .35 to 1. An unknown confidence fills
 * it, because a marker without one was made by a person or by a rule.
 * @param {number | null} confidence
 */
export function strength(confidence) {
  return confidence === null ? 1 : 0.35 + 0.65 * Math.min(1, Math.max(0, confidence));
}
