/** The report of a run as the page reads it: what failed first. Reports of older versions lack parts. */

/** @typedef {{id: string, title: string, kind: "scene" | "image" | "gallery", outcome: string, error: string, added: number, removed: number}} Item */
/** @typedef {import("../contract").SectionValue} SectionValue */

const RANK = ["failed", "partly", "gone"];

/**
 * Return scenes, images and galleries of a report, those that failed first.
 * @param {Record<string, any>} report
 * @returns {Item[]}
 */
export function itemsOf(report) {
  const scenes = (report.scenes ?? []).map((/** @type {any} */ scene) => ({
    id: scene.scene_id,
    title: scene.title || fileName(scene.path ?? ""),
    kind: "scene",
    ...outcome(scene),
  }));
  const images = (report.images ?? []).flatMap((/** @type {any} */ group) =>
    group.images.map((/** @type {[string, string]} */ [id, title]) => ({ id, title, kind: group.kind, ...outcome(group) })),
  );
  return [...scenes, ...images].sort((one, other) => rank(one) - rank(other));
}

/** @param {any} found */
const outcome = ({ outcome: word, error, change = {} }) => ({
  outcome: word,
  error: error ?? "",
  added: count(change.tags_added) + count(change.markers_added),
  removed: count(change.tags_removed) + count(change.markers_removed),
});

/** @param {unknown[] | undefined} list */
const count = (list) => list?.length ?? 0;

/** @param {{outcome: string}} item */
function rank(item) {
  const place = RANK.indexOf(item.outcome);
  return place < 0 ? RANK.length : place;
}

/**
 * Return the causes of failures, the most frequent first, with the items that each concerns.
 * @param {readonly Item[]} items
 * @returns {{error: string, items: Item[]}[]}
 */
export function failures(items) {
  /** @type {Map<string, Item[]>} */
  const causes = new Map();
  for (const item of items) {
    if (item.outcome === "failed") causes.set(item.error, [...(causes.get(item.error) ?? []), item]);
  }
  const found = [...causes].map(([error, concerned]) => ({ error, items: concerned }));
  return found.sort((one, other) => other.items.length - one.items.length);
}

/**
 * Return the endpoints of a report: calls, share of all calls, and failures by name.
 * @param {Record<string, any>} report
 * @returns {{name: string, calls: number, share: number, failed: Record<string, number>}[]}
 */
export const endpointsOf = (report) => report.endpoints ?? [];

/**
 * Return the sections of the checks in a report.
 * @param {Record<string, any>} report
 * @returns {SectionValue[]}
 */
export const checksOf = (report) => report.checks ?? [];

/** @param {string} path */
const fileName = (path) => path.split(/[\\/]/).at(-1) ?? "";
