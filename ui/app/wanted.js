/** What to look for: the tag list as text, and Stash's tag tree with three states beside it. */

import { chosenIn, listText, parseList, rows, toggled } from "../model/tags.js";
import { states } from "../model/tree.js";
import { Fault, Section, useLoaded, whenLoaded } from "./parts.js";
import { valueOf } from "./setup.js";
import { call } from "./stash.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").SettingsValue} SettingsValue */
/** @typedef {import("../contract").TreeTag} TreeTag */
/** @typedef {import("./setup.js").Save} Save */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button, Form } = api.libraries.Bootstrap;
const h = React.createElement;
const ROW = 32;
const SHOWN_ROWS = 12;

/** @param {{shell: Shell, settings: SettingsValue, save: Save}} props */
export function WantedTags({ shell, settings, save }) {
  const meanings = /** @type {Record<string, string>} */ (valueOf(settings, "TAG_DESCRIPTIONS", {}));
  const stored = listText(valueOf(settings, "TAG_LIST", /** @type {string[]} */ ([])), meanings);
  const [draft, setDraft] = React.useState(/** @type {string | null} */ (null));
  const [fault, setFault] = React.useState("");
  const [isSaving, setSaving] = React.useState(false);
  const text = draft ?? stored;
  const wanted = parseList(text);
  const store = async () => {
    setSaving(true);
    const left = await save(changesOf(wanted, meanings));
    setSaving(false);
    setFault(left);
    if (!left) setDraft(null);
  };
  const source = settings.values.find(({ name }) => name === "TAG_LIST")?.source ?? "";
  return h(
    Section,
    { title: texts.tags.title, help: texts.tags.help },
    h(
      "div",
      { className: "haven-columns" },
      h(
        "div",
        null,
        h(Form.Label, { htmlFor: "haven-tags" }, texts.tags.list(wanted.length)),
        h(Form.Control, { id: "haven-tags", as: "textarea", rows: 12, className: "text-input", spellCheck: false, value: text, onChange: (/** @type {any} */ event) => setDraft(event.target.value) }),
        h(Form.Text, { className: "text-muted" }, texts.from(source)),
        h(Fault, { fault }),
        h(
          "div",
          { className: "haven-buttons" },
          h(Button, { variant: "primary", disabled: draft === null || isSaving, onClick: store }, texts.tags.save),
          draft !== null && h(Button, { variant: "secondary", onClick: () => setDraft(null) }, texts.tags.revert),
        ),
      ),
      h("div", null, h(Tree, { shell, text, setText: setDraft, steering: steeringTags(settings) })),
    ),
  );
}

/**
 * Return the changes that store a list. Meanings of tags that are not listed stay.
 * @param {readonly import("../model/tags.js").Wanted[]} wanted
 * @param {Readonly<Record<string, string>>} meanings
 */
function changesOf(wanted, meanings) {
  const listed = new Set(wanted.map(({ name }) => name.toLowerCase()));
  const others = Object.entries(meanings).filter(([name]) => !listed.has(name.toLowerCase()));
  const described = wanted.filter(({ meaning }) => meaning).map(({ name, meaning }) => [name, meaning]);
  return [
    { name: "TAG_LIST", value: JSON.stringify(wanted.map(({ name }) => name)) },
    { name: "TAG_DESCRIPTIONS", value: JSON.stringify(Object.fromEntries([...others, ...described])) },
  ];
}

/**
 * Return the names of the plugin's own tags, which no model is asked about.
 * @param {SettingsValue} settings
 */
const steeringTags = ({ values }) =>
  new Set(values.filter(({ name }) => name.endsWith("_TAG_NAME")).map(({ value }) => JSON.parse(value)));

/** @param {{shell: Shell, text: string, setText: (text: string) => void, steering: ReadonlySet<string>}} props */
function Tree({ shell, text, setText, steering }) {
  const names = [...steering].join("\n");
  const loaded = useLoaded(
    React.useCallback(
      async (signal) => (await call(shell, "tag_tree", {}, signal)).tags.filter(({ name }) => !steering.has(name)),
      [shell, names],
    ),
  );
  const [filter, setFilter] = React.useState("");
  return h(
    React.Fragment,
    null,
    h(Form.Label, { htmlFor: "haven-tree-filter" }, texts.tags.tree),
    h(Form.Control, { id: "haven-tree-filter", className: "text-input", placeholder: texts.tags.filter, value: filter, onChange: (/** @type {any} */ event) => setFilter(event.target.value) }),
    whenLoaded(loaded, (tags) =>
      tags.length ? h(TreeRows, { tags, filter, text, setText }) : h("p", { className: "text-muted" }, texts.tags.noTags),
    ),
  );
}

/**
 * The rows that are in view; a library has thousands of tags.
 * @param {{tags: readonly TreeTag[], filter: string, text: string, setText: (text: string) => void}} props
 */
function TreeRows({ tags, filter, text, setText }) {
  const [open, setOpen] = React.useState(/** @type {ReadonlySet<string>} */ (new Set()));
  const [top, setTop] = React.useState(0);
  const found = React.useMemo(() => rows(tags, open, filter), [tags, open, filter]);
  const known = React.useMemo(() => states(tags, chosenIn(tags, text)), [tags, text]);
  const first = Math.max(0, Math.min(Math.floor(top / ROW), found.length - SHOWN_ROWS));
  const fold = (/** @type {string} */ path) => {
    const after = new Set(open);
    if (!after.delete(path)) after.add(path);
    setOpen(after);
  };
  return h(
    "div",
    { className: "haven-tree", style: { maxHeight: SHOWN_ROWS * ROW }, onScroll: (/** @type {any} */ event) => setTop(event.target.scrollTop) },
    h(
      "div",
      { style: { height: found.length * ROW, position: "relative" } },
      found.slice(first, first + SHOWN_ROWS + 2).map((row, place) =>
        h(TreeRow, {
          key: row.path,
          row,
          top: (first + place) * ROW,
          state: known.get(row.tag.id) ?? "none",
          isOpen: open.has(row.path),
          fold: () => fold(row.path),
          toggle: () => setText(toggled(tags, text, row.tag.id)),
        }),
      ),
    ),
  );
}

/** @param {{row: ReturnType<typeof rows>[number], top: number, state: import("../model/tree.js").TreeState, isOpen: boolean, fold: () => void, toggle: () => void}} props */
function TreeRow({ row, top, state, isOpen, fold, toggle }) {
  const { tag, level, hasChildren } = row;
  const mark = (/** @type {HTMLInputElement | null} */ box) => box && (box.indeterminate = state === "some");
  return h(
    "div",
    { className: "haven-tree-row", style: { top, paddingLeft: `${Math.min(level, 8) * 1.25}rem` } },
    hasChildren
      ? h("button", { type: "button", className: "haven-arrow", "aria-expanded": isOpen, "aria-label": texts.tags.unfold(tag.name), onClick: fold }, isOpen ? "▾" : "▸")
      : h("span", { className: "haven-arrow" }),
    h(
      "label",
      { title: tag.description },
      h("input", { type: "checkbox", ref: mark, checked: state === "all", onChange: toggle }),
      h("span", null, tag.name),
      tag.description && h("span", { className: "text-muted" }, tag.description),
    ),
  );
}
