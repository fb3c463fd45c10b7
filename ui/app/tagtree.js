/** Stash's tree of tags: single tags, or everything below one. */

import { toggled, toggledBelow } from "../model/choices.js";
import { rows } from "../model/tags.js";
import { states } from "../model/tree.js";
import { Rows } from "./rows.js";
import { page } from "./texts.js";

/** @typedef {import("../contract").TreeTag} TreeTag */
/** @typedef {import("../model/choices.js").Choice} Choice */
/** @typedef {ReturnType<typeof import("../model/choices.js").idsOf>} Ids */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const h = React.createElement;
const texts = page.tags;

/**
 * `listed`: ids of tags that the list of names has.
 * @param {{tags: readonly TreeTag[], filter: string, choices: readonly Choice[], ids: Ids, listed: ReadonlySet<string>, setChoices: (choices: Choice[]) => void}} props
 */
export function TagTree({ tags, filter, choices, ids, listed, setChoices }) {
  const [open, setOpen] = React.useState(/** @type {ReadonlySet<string>} */ (new Set()));
  const found = React.useMemo(() => rows(tags, open, filter), [tags, open, filter]);
  const known = React.useMemo(() => states(tags, new Set([...ids.wanted, ...listed])), [tags, ids, listed]);
  const fold = (/** @type {string} */ path) => {
    const after = new Set(open);
    if (!after.delete(path)) after.add(path);
    setOpen(after);
  };
  if (!found.length) return h("p", { className: "text-muted" }, texts.noMatch);
  return h(Rows, {
    items: found,
    height: 32,
    most: 14,
    className: "haven-tree",
    row: (/** @type {Row} */ row, /** @type {object} */ style) =>
      h(TreeRow, {
        key: row.path,
        row,
        style,
        state: known.get(row.tag.id) ?? "none",
        why: whyNot(row.tag, ids, listed),
        isOpen: open.has(row.path),
        isAll: ids.all.has(row.tag.id),
        fold: () => fold(row.path),
        toggle: () => setChoices(toggled(choices, tags, row.tag)),
        toggleBelow: () => setChoices(toggledBelow(choices, tags, row.tag)),
      }),
  });
}

/** @typedef {ReturnType<typeof rows>[number]} Row */

/**
 * Return what there is to say of a tag that is chosen and yet not looked for, or listed elsewhere.
 * @param {TreeTag} tag
 * @param {Ids} ids
 * @param {ReadonlySet<string>} listed
 */
function whyNot({ id }, ids, listed) {
  if (ids.leftOut.has(id)) return texts.leftOut;
  const isChosen = ids.single.has(id) || ids.covered.has(id);
  if (isChosen && !ids.wanted.has(id)) return texts.ignored;
  return !isChosen && listed.has(id) ? texts.inList : "";
}

/** @param {{row: Row, style: object, state: import("../model/tree.js").TreeState, why: string, isOpen: boolean, isAll: boolean, fold: () => void, toggle: () => void, toggleBelow: () => void}} props */
function TreeRow({ row, style, state, why, isOpen, isAll, fold, toggle, toggleBelow }) {
  const { tag, level, hasChildren, isParent } = row;
  const mark = (/** @type {HTMLInputElement | null} */ box) => box && (box.indeterminate = state === "some");
  return h(
    "div",
    { className: "haven-tree-row", style: { ...style, paddingLeft: `${Math.min(level, 8) * 1.25}rem` } },
    hasChildren
      ? h("button", { type: "button", className: "haven-arrow", "aria-expanded": isOpen, "aria-label": texts.unfold(tag.name), onClick: fold }, isOpen ? "▾" : "▸")
      : h("span", { className: "haven-arrow" }),
    h(
      "label",
      { title: tag.meaning },
      h("input", { type: "checkbox", ref: mark, checked: state === "all", onChange: toggle }),
      h("span", null, tag.name),
      (why || tag.meaning) && h("span", { className: "text-muted" }, why || tag.meaning),
    ),
    isParent &&
      h("button", { type: "button", className: `haven-below btn btn-sm ${isAll ? "btn-primary" : "btn-secondary"}`, "aria-pressed": isAll, "aria-label": texts.belowOf(tag.name), title: texts.belowHelp, onClick: toggleBelow }, isAll ? texts.belowOn : texts.below),
  );
}
