/** What a task works on, as its arguments and as those of the forecast. */

/** @typedef {"scenes" | "images" | "galleries"} Kind */
/** @typedef {{criteria: string, search: string}} Filter the criteria are JSON text */
/** @typedef {{kind: Kind, ids: readonly string[]} | {kind: Kind, filter: Filter} | {exceptTags: readonly string[]}} Scope */

/** A task takes no more ids than these. */
export const MOST_IDS = 2000;
/** @type {Record<Kind, "scene_filter" | "image_filter" | "gallery_filter">} */
const FILTERS = { scenes: "scene_filter", images: "image_filter", galleries: "gallery_filter" };
/** @type {Record<Kind, string>} */
const TAGGING = { scenes: "tag_videos", images: "tag_images", galleries: "tag_images" };

/**
 * Return the mode of the task that tags these items.
 * @param {Scope} scope
 */
export const taggingMode = (scope) => ("exceptTags" in scope ? "tag_new" : TAGGING[scope.kind]);

/**
 * Return the arguments by which a task works on these items.
 * @param {Scope} scope
 * @returns {Record<string, string>}
 */
export function taskArguments(scope) {
  if ("exceptTags" in scope) return { except_tags: JSON.stringify(scope.exceptTags) };
  if ("ids" in scope) return { [scope.kind]: scope.ids.join(",") };
  return filterArguments(scope.kind, scope.filter);
}

/**
 * Return the arguments of the forecast for these items.
 * @param {Scope} scope
 * @returns {import("../contract").ForecastArguments}
 */
export function forecastArguments(scope) {
  if ("exceptTags" in scope) return { is_new: true, except_tags: [...scope.exceptTags] };
  if ("ids" in scope) return { [scope.kind]: [...scope.ids] };
  return filterArguments(scope.kind, scope.filter);
}

/**
 * @param {Kind} kind
 * @param {Filter} filter
 */
const filterArguments = (kind, { criteria, search }) => ({
  [FILTERS[kind]]: criteria,
  ...(search ? { search } : {}),
});

/**
 * Return the filter of one of Stash's lists; null for one that does not say what it shows.
 * @param {import("../plugin-api").ListFilter | null | undefined} list
 * @returns {Filter | null}
 */
export function filterOf(list) {
  try {
    const criteria = list?.makeFilter?.();
    if (!criteria) return null;
    return { criteria: JSON.stringify(criteria), search: list?.makeFindFilter?.().q ?? "" };
  } catch {
    return null;
  }
}

/**
 * Return the filter that a page's requests for lists have in common; null where there is no such
 * request, or several that differ.
 * @param {Iterable<{queryName?: string, variables?: any}>} requests
 * @param {Kind} kind
 * @returns {Filter | null}
 */
export function filterOfRequests(requests, kind) {
  const query = { scenes: "FindScenes", images: "FindImages", galleries: "FindGalleries" }[kind];
  const found = new Set();
  for (const { queryName, variables } of requests) {
    if (queryName !== query || !variables?.filter) continue;
    found.add(JSON.stringify({ criteria: JSON.stringify(variables[FILTERS[kind]] ?? {}), search: variables.filter.q ?? "" }));
  }
  return found.size === 1 ? JSON.parse([...found][0]) : null;
}

/** The modes that try failed items again, by the name of the task in which they failed. */
const AGAIN = new Map(
  Object.entries({
    "Tag Videos": "tag_videos",
    "Tag Images": "tag_images",
    "Update Tagged Videos": "update_videos",
    "Update Tagged Images": "update_images",
    "Bring Back What You Removed": "bring_back",
    Preview: "preview",
  }),
);

/**
 * Return whether items that failed in a task can be tried again one by one.
 * @param {string} task its name
 */
export const canRetry = (task) => task === "Tag What Is New" || AGAIN.has(task);

/**
 * Return how the failed items of a run are tried again: a task for each kind. Undoing is not tried
 * again by item.
 * @param {string} task its name
 * @param {readonly {kind: string, id: string}[]} items
 * @returns {{mode: string, scope: {kind: Kind, ids: string[]}}[]}
 */
export function retries(task, items) {
  const kinds = /** @type {const} */ ([["scene", "scenes"], ["image", "images"], ["gallery", "galleries"]]);
  return kinds.flatMap(([one, kind]) => {
    const ids = items.filter((item) => item.kind === one).map(({ id }) => id).slice(0, MOST_IDS);
    const mode = task === "Tag What Is New" ? TAGGING[kind] : AGAIN.get(task);
    return mode && ids.length ? [{ mode, scope: { kind, ids } }] : [];
  });
}
