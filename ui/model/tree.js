/**
 * The tag tree with three states. It is a graph without cycles: a tag can have several parents, is
 * drawn below each of them, and has one state.
 */

/** @typedef {{id: string, name: string, parents: readonly string[]}} TreeTag */
/** @typedef {"all" | "some" | "none"} TreeState */

const { compare } = new Intl.Collator();

/**
 * Return the ids of the children of each tag, ordered by name; "" holds the roots. A parent that is
 * not among the tags does not count.
 * @param {readonly TreeTag[]} tags
 */
export function childrenOf(tags) {
  const known = new Set(tags.map((tag) => tag.id));
  /** @type {Map<string, string[]>} */
  const children = new Map([["", []]]);
  for (const tag of [...tags].sort((one, other) => compare(one.name, other.name))) {
    const parents = tag.parents.filter((id) => known.has(id));
    for (const id of parents.length ? parents : [""]) {
      const siblings = children.get(id);
      if (siblings) siblings.push(tag.id);
      else children.set(id, [tag.id]);
    }
  }
  return children;
}

/**
 * Return the tag and every tag below it.
 * @param {ReadonlyMap<string, readonly string[]>} children
 * @param {string} id
 */
export function below(children, id) {
  const found = new Set([id]);
  for (const one of found) for (const child of children.get(one) ?? []) found.add(child);
  return found;
}

/**
 * Return the state of each tag: "all" when it is chosen itself, "some" when only tags below it are,
 * else "none".
 * @param {readonly TreeTag[]} tags
 * @param {ReadonlySet<string>} chosen
 */
export function states(tags, chosen) {
  const parents = new Map(tags.map((tag) => [tag.id, tag.parents]));
  const above = new Set(chosen);
  for (const id of above) for (const parent of parents.get(id) ?? []) above.add(parent);
  /** @type {Map<string, TreeState>} */
  const known = new Map();
  for (const { id } of tags) known.set(id, chosen.has(id) ? "all" : above.has(id) ? "some" : "none");
  return known;
}
