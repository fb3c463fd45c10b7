/**
 * The tag tree with three states. It is a graph without cycles: a tag can have several parents, is
 * drawn below each of them, and has one state.
 */

/** @typedef {{id: string, name: string, parents: readonly string[]}} TreeTag */
/** @typedef {"all" | "some" | "none"} TreeState */

/**
 * Return the ids of the children of each tag, ordered by name; "" holds the roots. A parent that is
 * not among the tags does not count.
 * @param {readonly TreeTag[]} tags
 */
export function childrenOf(tags) {
  const known = new Set(tags.map((tag) => tag.id));
  /** @type {Map<string, string[]>} */
  const children = new Map([["", []]]);
  for (const tag of [...tags].sort((one, other) => one.name.localeCompare(other.name))) {
    const parents = tag.parents.filter((id) => known.has(id));
    for (const id of parents.length ? parents : [""]) {
      children.set(id, [...(children.get(id) ?? []), tag.id]);
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
 * Return the state of each tag: "all" when it and everything below it are chosen, "some" when at
 * least one of them is, else "none".
 * @param {readonly TreeTag[]} tags
 * @param {ReadonlySet<string>} chosen
 */
export function states(tags, chosen) {
  const children = childrenOf(tags);
  /** @type {Map<string, TreeState>} */
  const known = new Map();
  const visit = (/** @type {string} */ id) => {
    const before = known.get(id);
    if (before) return before;
    /** @type {TreeState[]} */
    const parts = [chosen.has(id) ? "all" : "none", ...(children.get(id) ?? []).map(visit)];
    const state = parts.every((part) => part === parts[0]) ? parts[0] : "some";
    known.set(id, state);
    return state;
  };
  tags.forEach((tag) => visit(tag.id));
  return known;
}

/**
 * Return the chosen ids after a click on a tag: it and everything below it are chosen, or none of
 * them when all were.
 * @param {readonly TreeTag[]} tags
 * @param {ReadonlySet<string>} chosen
 * @param {string} id
 */
export function toggle(tags, chosen, id) {
  const group = below(childrenOf(tags), id);
  const isAll = [...group].every((one) => chosen.has(one));
  return new Set(
    isAll ? [...chosen].filter((one) => !group.has(one)) : [...chosen, ...group],
  );
}
