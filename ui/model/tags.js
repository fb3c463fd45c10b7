/** The tag list as text, a line for each tag, and the tree of Stash's tags as rows. */

import { childrenOf } from "./tree.js";

/** @typedef {{name: string, meaning: string}} Wanted */
/** @typedef {import("../contract").TreeTag} TreeTag */

/**
 * Return the list as text: "Foul: a player hits", "Goal".
 * @param {readonly string[]} names
 * @param {Readonly<Record<string, string>>} meanings
 */
export const listText = (names, meanings) =>
  names.map((name) => line({ name, meaning: meanings[name] ?? "" })).join("\n");

/** @param {Wanted} tag */
const line = ({ name, meaning }) => (meaning ? `${name}: ${meaning}` : name);

/**
 * Return the tags that a text lists. The first of two with one name counts.
 * @param {string} text
 * @returns {Wanted[]}
 */
export function parseList(text) {
  /** @type {Map<string, Wanted>} */
  const found = new Map();
  for (const one of text.split(/\n/)) {
    const [name, ...meaning] = one.split(":");
    const plain = name.trim().replace(/\s+/g, " ");
    if (plain && !found.has(key(plain))) found.set(key(plain), { name: plain, meaning: meaning.join(":").trim() });
  }
  return [...found.values()];
}

/**
 * Return what all spellings of one name share.
 * @param {string} name
 */
export const key = (name) => name.trim().replace(/\s+/g, " ").toLowerCase();

/** @param {TreeTag} tag */
const keys = (tag) => [tag.name, ...tag.aliases].map(key);

/**
 * Return the tree as rows in their order. Below a closed tag there are none; with a filter, only
 * the tags that contain it, without levels. `hasChildren`: it can be unfolded; `isParent`: there are
 * tags below it.
 * @param {readonly TreeTag[]} tags
 * @param {ReadonlySet<string>} open
 * @param {string} filter
 * @returns {{tag: TreeTag, path: string, level: number, hasChildren: boolean, isParent: boolean}[]}
 */
export function rows(tags, open, filter) {
  const byId = new Map(tags.map((tag) => [tag.id, tag]));
  const children = childrenOf(tags);
  const wanted = key(filter.trim());
  const row = (/** @type {TreeTag} */ tag, /** @type {string} */ path, /** @type {number} */ level) => ({
    tag, path, level, hasChildren: !wanted && children.has(tag.id), isParent: children.has(tag.id),
  });
  if (wanted) return tags.filter((tag) => keys(tag).some((one) => one.includes(wanted))).map((tag) => row(tag, tag.id, 0));
  /** @type {ReturnType<typeof rows>} */
  const found = [];
  const visit = (/** @type {string} */ parent, /** @type {string} */ above, /** @type {number} */ level) => {
    for (const id of children.get(parent) ?? []) {
      const path = `${above}/${id}`;
      found.push(row(/** @type {TreeTag} */ (byId.get(id)), path, level));
      if (open.has(path)) visit(id, path, level + 1);
    }
  };
  visit("", "", 0);
  return found;
}
