/** The report of a run as the page reads it. Reports of older versions lack parts. */

/** @typedef {import("../contract").SectionValue} SectionValue */
/** @typedef {import("../contract").ItemChanges} ItemChanges */
/** @typedef {{name: string, calls: number, share: number, failed: Record<string, number>, seconds: number | null, busy_s: number, prompt_tokens: number, answer_tokens: number}} Endpoint */
/** @typedef {{asked: number, answered: number, failed: number, unreadable: number, calls: number, seconds: number}} Coverage */

/**
 * Return the endpoints of a report, that with the most calls first.
 * @param {Record<string, any>} report
 * @returns {Endpoint[]}
 */
export const endpointsOf = (report) =>
  (report.endpoints ?? []).map((/** @type {Partial<Endpoint>} */ one) => ({
    seconds: null, busy_s: 0, prompt_tokens: 0, answer_tokens: 0, failed: {}, ...one,
  }));

/**
 * Return the sections of the checks in a report.
 * @param {Record<string, any>} report
 * @returns {SectionValue[]}
 */
export const checksOf = (report) => report.checks ?? [];

/**
 * Return how many frames and pictures were asked about, and what that took.
 * @param {Record<string, any>} report
 * @returns {Coverage}
 */
export const coverageOf = (report) => ({ asked: 0, answered: 0, failed: 0, unreadable: 0, calls: 0, seconds: 0, ...report.coverage });

/**
 * Return the name of an error as words: "timed out" for "TimedOutError".
 * @param {string} kind
 */
export const errorWords = (kind) => kind.replace(/Error$/, "").replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();

/**
 * Return the number of markers by title as a list: "3 markers Foul", "1 marker Goal".
 * @param {{[title: string]: number}} markers
 */
export const markerNames = (markers) => Object.entries(markers).map(([title, count]) => `${count.toLocaleString()} marker${count === 1 ? "" : "s"} ${title}`);

/**
 * Return true if nothing was, or would be, added or removed.
 * @param {ItemChanges} change
 */
export const isEmptyChange = ({ tags_added: added, tags_removed: removed, markers_added: more, markers_removed: fewer }) =>
  added.length + removed.length + Object.keys(more).length + Object.keys(fewer).length === 0;

/**
 * Return the items by outcome in words, the failed ones first: [["failed", 1], ["done", 2]].
 * @param {{[outcome: string]: number}} items
 * @returns {[string, number][]}
 */
export function outcomes(items) {
  const rank = ["failed", "partly", "gone"];
  const place = (/** @type {string} */ one) => (rank.includes(one) ? rank.indexOf(one) : rank.length);
  return Object.entries(items).sort(([one], [other]) => place(one) - place(other));
}
