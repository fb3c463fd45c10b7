/**
 * What is chosen from Stash's tree of tags: the entries of STASH_TAGS, and the rules and meanings of
 * single tags. Nothing here changes what it is given.
 */

import { below, childrenOf } from "./tree.js";
import { key } from "./tags.js";

/** @typedef {import("../contract").TreeTag} TreeTag */
/** @typedef {{id?: string, name?: string, below?: boolean, leave_out?: boolean}} Choice */
/** @typedef {Readonly<Record<string, Readonly<Record<string, unknown>>>>} Rules */

/**
 * Return the entries with the ids and the names of their tags by now. One whose tag is gone stays as
 * it is.
 * @param {readonly (Choice | string)[]} entries
 * @param {readonly TreeTag[]} tags
 * @returns {Choice[]}
 */
export function withIds(entries, tags) {
  const byId = new Map(tags.map((tag) => [tag.id, tag]));
  const byKey = new Map([
    ...tags.flatMap((tag) => tag.aliases.map((alias) => /** @type {const} */ ([key(alias), tag]))),
    ...tags.map((tag) => /** @type {const} */ ([key(tag.name), tag])),
  ]);
  return entries.map((entry) => {
    const choice = typeof entry === "string" ? { name: entry } : entry;
    const tag = byId.get(String(choice.id ?? "")) ?? byKey.get(key(choice.name ?? ""));
    return tag ? { ...choice, id: tag.id, name: tag.name } : choice;
  });
}

/**
 * Return the ids that the entries stand for. `covered`: everything below a chosen tag; `leftOut`:
 * what an entry takes out of it again; `wanted`: what is looked for.
 * @param {readonly Choice[]} choices
 * @param {readonly TreeTag[]} tags
 * @param {boolean} respectsIgnore
 */
export function idsOf(choices, tags, respectsIgnore) {
  const children = childrenOf(tags);
  const under = (/** @type {string} */ id) => [...below(children, id)].filter((one) => one !== id);
  /** @type {Record<"single" | "all" | "covered" | "leftOut", Set<string>>} */
  const ids = { single: new Set(), all: new Set(), covered: new Set(), leftOut: new Set() };
  for (const { id, below: isBelow, leave_out: isLeftOut } of choices) {
    if (!id) continue;
    if (isLeftOut) (isBelow ? under(id) : [id]).forEach((one) => ids.leftOut.add(one));
    else if (isBelow) {
      ids.all.add(id);
      under(id).forEach((one) => ids.covered.add(one));
    } else ids.single.add(id);
  }
  const isWanted = (/** @type {TreeTag} */ { id, ignore_auto_tag: isIgnored }) =>
    (ids.single.has(id) || ids.covered.has(id)) && !ids.leftOut.has(id) && !(respectsIgnore && isIgnored);
  return { ...ids, wanted: new Set(tags.filter(isWanted).map(({ id }) => id)) };
}

/**
 * Return the entries after a click on a tag: it is looked for, or it is not any more. Below a tag
 * whose whole subtree is chosen, it is left out of that.
 * @param {readonly Choice[]} choices
 * @param {readonly TreeTag[]} tags
 * @param {TreeTag} tag
 * @returns {Choice[]}
 */
export function toggled(choices, tags, { id, name }) {
  const { single, covered, leftOut } = idsOf(choices, tags, false);
  const others = choices.filter((one) => one.id !== id || one.below);
  if (leftOut.has(id)) return covered.has(id) ? others : [...others, { id, name }];
  if (covered.has(id)) return [...others, { id, name, leave_out: true }];
  return single.has(id) ? others : [...others, { id, name }];
}

/**
 * Return the entries after a click on "everything below" of a tag. What was left out of it only, is
 * forgotten with it.
 * @param {readonly Choice[]} choices
 * @param {readonly TreeTag[]} tags
 * @param {TreeTag} tag
 * @returns {Choice[]}
 */
export function toggledBelow(choices, tags, { id, name }) {
  const isOn = choices.some((one) => one.id === id && one.below && !one.leave_out);
  if (!isOn) return [...choices, { id, name, below: true }];
  const rest = choices.filter((one) => one.id !== id || !one.below);
  const { covered } = idsOf(rest, tags, false);
  return rest.filter((one) => !one.leave_out || covered.has(one.id ?? ""));
}

/**
 * Return the key of an object under which a tag's value stands: its name, or one that it had before.
 * @param {Readonly<Record<string, unknown>>} values
 * @param {readonly string[]} names
 */
export function keyIn(values, names) {
  const wanted = names.map(key);
  const found = Object.keys(values).map((name) => ({ name, place: wanted.indexOf(key(name)) }));
  return found.filter(({ place }) => place >= 0).sort((one, other) => one.place - other.place)[0]?.name;
}

/**
 * Return the threshold that the rules have for a tag itself, or null.
 * @param {Rules} rules
 * @param {readonly string[]} names
 * @returns {number | null}
 */
export function thresholdIn(rules, names) {
  const value = rules[keyIn(rules, names) ?? ""]?.TagThreshold;
  return typeof value === "number" ? value : null;
}

/**
 * Return the rules with another threshold for a tag; null leaves it to the one for all tags. The
 * rest of its rule stays.
 * @param {Rules} rules
 * @param {readonly string[]} names the present one first
 * @param {number | null} threshold
 * @returns {Rules}
 */
export function withThreshold(rules, names, threshold) {
  const before = keyIn(rules, names);
  const { TagThreshold: _, ...rest } = rules[before ?? ""] ?? {};
  const rule = threshold === null ? rest : { ...rest, TagThreshold: threshold };
  return withValue(rules, names, Object.keys(rule).length ? rule : null);
}

/**
 * Return an object with another value for a tag, under its present name; null removes it.
 * @template Value
 * @param {Readonly<Record<string, Value>>} values
 * @param {readonly string[]} names
 * @param {Value | null} value
 * @returns {Record<string, Value>}
 */
export function withValue(values, names, value) {
  const before = keyIn(values, names);
  const others = Object.entries(values).filter(([name]) => name !== before);
  const isSame = before !== undefined && key(before) === key(names[0]);
  const after = value === null ? [] : [/** @type {[string, Value]} */ ([isSame ? before : names[0], value])];
  return Object.fromEntries([...others, ...after]);
}

/**
 * Return a threshold from what a person wrote in percent: null for nothing, undefined for what is
 * no percentage.
 * @param {string} text
 */
export function shareOf(text) {
  if (!text.trim()) return null;
  const number = Number(text.replace(",", ".").replace("%", ""));
  return number >= 0 && number <= 100 ? Math.round(number * 10) / 1000 : undefined;
}
