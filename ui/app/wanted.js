/**
 * What to look for: tags from Stash's tree, names of one's own, and for each what the model is told
 * and its threshold.
 */

import { idsOf, keyIn, shareOf, thresholdIn, withIds, withThreshold, withValue } from "../model/choices.js";
import { key, listText, parseList } from "../model/tags.js";
import { Fault, Section, useLoaded, whenLoaded } from "./parts.js";
import { Rows } from "./rows.js";
import { isSet, valueOf } from "./setup.js";
import { call } from "./stash.js";
import { TagTree } from "./tagtree.js";
import { page } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").SettingsValue} SettingsValue */
/** @typedef {import("../contract").TreeTag} TreeTag */
/** @typedef {import("../contract").TagTree} TagTreeValue */
/** @typedef {import("../model/choices.js").Choice} Choice */
/** @typedef {import("../model/choices.js").Rules} Rules */
/** @typedef {import("./setup.js").Save} Save */
/** @typedef {{name: string, tag: TreeTag | undefined, names: string[]}} WantedTag */

/**
 * What a person sets here, as it is stored. `text`: the list of names with their meanings.
 * @typedef {{choices: Choice[], text: string, rules: Rules, meanings: Readonly<Record<string, string>>, respects: boolean}} Draft
 */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button, Form } = api.libraries.Bootstrap;
const { Link } = api.libraries.ReactRouterDOM;
const h = React.createElement;
const texts = page.tags;
/** So many tags make every question long. */
const MANY = 100;

/** @param {{shell: Shell, settings: SettingsValue, save: Save}} props */
export function WantedTags({ shell, settings, save }) {
  const loaded = useLoaded(React.useCallback((signal) => call(shell, "tag_tree", {}, signal), [shell]));
  const [draft, setDraft] = React.useState(/** @type {Partial<Draft>} */ ({}));
  const [fault, setFault] = React.useState("");
  const [isSaving, setSaving] = React.useState(false);
  const tags = loaded.value?.tags ?? NONE;
  const stored = React.useMemo(() => storedIn(settings, tags), [settings, tags]);
  const choices = draft.choices ?? stored.choices;
  const isExample = !isSet(settings, "TAG_LIST");
  const now = { ...stored, ...draft, text: draft.text ?? (isExample && choices.length ? "" : stored.text) };
  const set = (/** @type {Partial<Draft>} */ change) => setDraft({ ...draft, ...change });
  const store = async () => {
    setSaving(true);
    const left = await save(changesOf(now, draft));
    setSaving(false);
    setFault(left);
    if (left) return;
    setDraft({});
    loaded.reload();
  };
  const source = sourceOf(settings, isSet(settings, "STASH_TAGS") ? "STASH_TAGS" : "TAG_LIST");
  const isChanged = Object.keys(draft).length > 0;
  return h(
    Section,
    { title: texts.title, help: texts.help },
    h(Parts, { loaded, tags, now, set, settings }),
    h(Form.Text, { className: "text-muted" }, page.from(source)),
    h(Fault, { fault }),
    h(
      "div",
      { className: "haven-buttons" },
      h(Button, { variant: "primary", disabled: !isChanged || isSaving, onClick: store }, texts.save),
      isChanged && h(Button, { variant: "secondary", onClick: () => setDraft({}) }, texts.revert),
    ),
  );
}

/** @type {readonly TreeTag[]} */
const NONE = [];

/**
 * @param {SettingsValue} settings
 * @param {string} name
 */
const sourceOf = ({ values }, name) => values.find((one) => one.name === name)?.source ?? "";

/**
 * @param {SettingsValue} settings
 * @param {readonly TreeTag[]} tags
 * @returns {Draft}
 */
function storedIn(settings, tags) {
  const meanings = valueOf(settings, "TAG_DESCRIPTIONS", /** @type {Record<string, string>} */ ({}));
  return {
    choices: withIds(valueOf(settings, "STASH_TAGS", /** @type {(Choice | string)[]} */ ([])), tags),
    text: listText(valueOf(settings, "TAG_LIST", /** @type {string[]} */ ([])), meanings),
    rules: valueOf(settings, "TAG_RULES", /** @type {Rules} */ ({})),
    meanings,
    respects: valueOf(settings, "RESPECT_IGNORE_AUTO_TAG", false),
  };
}

/**
 * Return the changes of settings that store what was changed. Meanings of tags that are not listed
 * stay.
 * @param {Draft} now
 * @param {Partial<Draft>} draft
 */
function changesOf(now, draft) {
  const listed = parseList(now.text);
  /** @type {Record<string, string>} */
  let meanings = { ...now.meanings };
  for (const { name, meaning } of draft.text === undefined ? [] : listed) {
    const own = meanings[keyIn(meanings, [name]) ?? ""];
    if (meaning || own) meanings = withValue(meanings, [name], meaning || null);
  }
  /** @type {Record<string, unknown>} */
  const values = {
    ...(draft.choices && { STASH_TAGS: now.choices }),
    ...(draft.text !== undefined && { TAG_LIST: listed.map(({ name }) => name) }),
    ...((draft.text !== undefined || draft.meanings) && { TAG_DESCRIPTIONS: meanings }),
    ...(draft.rules && { TAG_RULES: now.rules }),
    ...(draft.respects !== undefined && { RESPECT_IGNORE_AUTO_TAG: now.respects }),
  };
  return Object.entries(values).map(([name, value]) => ({ name, value: JSON.stringify(value) }));
}

/**
 * @typedef {{loaded: ReturnType<typeof useLoaded<TagTreeValue>>, tags: readonly TreeTag[], now: Draft, set: (change: Partial<Draft>) => void, settings: SettingsValue}} PartsProps
 * @param {PartsProps} props
 */
function Parts({ loaded, tags, now, set, settings }) {
  const [filter, setFilter] = React.useState("");
  const ids = React.useMemo(() => idsOf(now.choices, tags, now.respects), [now.choices, now.respects, tags]);
  const wanted = React.useMemo(() => wantedTags(now.text, tags, ids.wanted), [now.text, tags, ids]);
  const listed = React.useMemo(() => new Set(wanted.flatMap(({ tag }) => tag?.id ?? [])), [wanted]);
  return h(
    React.Fragment,
    null,
    h(Form.Control, { id: "haven-tree-filter", className: "text-input haven-filter", "aria-label": texts.filter, placeholder: texts.filter, value: filter, onChange: (/** @type {any} */ event) => setFilter(event.target.value) }),
    h(
      "div",
      { className: "haven-columns" },
      h(
        "div",
        null,
        h("strong", null, texts.tree),
        whenLoaded(loaded, ({ notes }) =>
          h(
            React.Fragment,
            null,
            notes.map((note) => h("p", { key: note, className: "haven-tag-note" }, note)),
            tags.length
              ? h(TagTree, { tags, filter, choices: now.choices, ids, listed, setChoices: (/** @type {Choice[]} */ choices) => set({ choices }) })
              : h("p", { className: "text-muted" }, texts.noTags),
            h(Form.Check, { id: "haven-respects", type: "switch", label: texts.respects, checked: now.respects, onChange: () => set({ respects: !now.respects }) }),
          ),
        ),
      ),
      h("div", null, h(WantedList, { wanted, filter, now, set, settings })),
    ),
    h(Form.Label, { htmlFor: "haven-tags" }, texts.list),
    h(Form.Control, { id: "haven-tags", as: "textarea", rows: Math.min(8, now.text.split("\n").length + 1), className: "text-input haven-filter", spellCheck: false, value: now.text, onChange: (/** @type {any} */ event) => set({ text: event.target.value }) }),
  );
}

/**
 * Return the tags that are looked for: the names of the list, and those of the tree, in the order of
 * their names. A name that is a tag's in Stash is that tag.
 * @param {string} text
 * @param {readonly TreeTag[]} tags
 * @param {ReadonlySet<string>} ids
 * @returns {WantedTag[]}
 */
function wantedTags(text, tags, ids) {
  const byKey = new Map(tags.flatMap((tag) => [...tag.aliases, tag.name].map((name) => /** @type {const} */ ([key(name), tag]))));
  const listed = parseList(text).map(({ name }) => ({ name, tag: byKey.get(key(name)), names: [name] }));
  const inList = new Set(listed.map(({ tag }) => tag?.id));
  const chosen = tags.filter(({ id }) => ids.has(id) && !inList.has(id));
  return [...listed, ...chosen.map((tag) => ({ name: tag.name, tag, names: [tag.name, ...tag.former_names] }))];
}

/** @param {{wanted: readonly WantedTag[], filter: string, now: Draft, set: (change: Partial<Draft>) => void, settings: SettingsValue}} props */
function WantedList({ wanted, filter, now, set, settings }) {
  const [selected, select] = React.useState("");
  const usual = valueOf(settings, "VIDEO_THRESHOLD", 0.5);
  const found = wanted.filter(({ names, tag }) => [...names, ...(tag?.aliases ?? [])].some((one) => key(one).includes(key(filter))));
  const current = wanted.find(({ name }) => name === selected);
  return h(
    React.Fragment,
    null,
    h("strong", null, texts.wanted(wanted.length)),
    wanted.length > MANY && h("p", { className: "haven-tag-note" }, texts.many),
    h(Rows, {
      items: found,
      height: 40,
      most: 10,
      className: "haven-wanted",
      row: (/** @type {WantedTag} */ one, /** @type {object} */ style) =>
        h(WantedRow, { key: one.name, wanted: one, style, now, set, usual, isSelected: one.name === selected, select: () => select(one.name === selected ? "" : one.name) }),
    }),
    current && h(Meaning, { key: current.name, wanted: current, now, set }),
  );
}

/** @param {{wanted: WantedTag, style: object, now: Draft, set: (change: Partial<Draft>) => void, usual: number, isSelected: boolean, select: () => void}} props */
function WantedRow({ wanted: { name, names, tag }, style, now, set, usual, isSelected, select }) {
  return h(
    "div",
    { className: `haven-wanted-row ${isSelected ? "is-selected" : ""}`, style },
    h(
      "button",
      { type: "button", className: "haven-label", "aria-expanded": isSelected, title: texts.tellHelp, onClick: select },
      h("span", null, name),
      h("span", { className: "text-muted" }, toldOf(names, tag, now)),
    ),
    h(Threshold, { name, share: thresholdIn(now.rules, names), usual, set: (share) => set({ rules: withThreshold(now.rules, names, share) }) }),
  );
}

/**
 * A threshold in percent. Empty: the one for all tags.
 * @param {{name: string, share: number | null, usual: number, set: (share: number | null) => void}} props
 */
export function Threshold({ name, share, usual, set }) {
  const shown = share === null ? "" : String(Math.round(share * 1000) / 10);
  const [text, setText] = React.useState(/** @type {string | null} */ (null));
  const change = (/** @type {string} */ written) => {
    const after = shareOf(written);
    setText(after === undefined ? written : null);
    if (after !== undefined) set(after);
  };
  return h(
    "span",
    { className: "haven-threshold" },
    h("input", { type: "number", min: 0, max: 100, step: 1, inputMode: "decimal", className: "form-control text-input", "aria-label": texts.threshold(name), "aria-invalid": text !== null, title: texts.thresholdHelp, placeholder: String(Math.round(usual * 100)), value: text ?? shown, onChange: (/** @type {any} */ event) => change(event.target.value) }),
    h("span", { "aria-hidden": true }, "%"),
  );
}

/**
 * Return what the model is told of a tag: one's own words, or Stash's.
 * @param {readonly string[]} names
 * @param {TreeTag | undefined} tag
 * @param {Draft} now
 */
function toldOf(names, tag, now) {
  const inText = parseList(now.text).find(({ name }) => key(name) === key(names[0]))?.meaning;
  if (inText) return inText;
  const own = keyIn(now.meanings, names);
  return own !== undefined ? now.meanings[own] : (tag?.meaning ?? "");
}

/** @param {{wanted: WantedTag, now: Draft, set: (change: Partial<Draft>) => void}} props */
function Meaning({ wanted: { name, names, tag }, now, set }) {
  const isListed = parseList(now.text).some((one) => key(one.name) === key(name));
  const hasOwn = keyIn(now.meanings, names) !== undefined;
  const setMeaning = (/** @type {string | null} */ text) => {
    const line = parseList(now.text).map((one) => (key(one.name) === key(name) ? { ...one, meaning: text ?? "" } : one));
    if (isListed) set({ text: listText(line.map((one) => one.name), Object.fromEntries(line.map((one) => [one.name, one.meaning]))) });
    else set({ meanings: withValue(now.meanings, names, text) });
  };
  const id = "haven-meaning";
  return h(
    "div",
    { className: "haven-meaning card" },
    h(Form.Label, { htmlFor: id }, texts.told(name)),
    h(Form.Control, { id, as: "textarea", rows: 3, className: "text-input", value: toldOf(names, tag, now), onChange: (/** @type {any} */ event) => setMeaning(event.target.value.replace(/\s*\n\s*/g, " ")) }),
    h(Form.Text, { className: "text-muted" }, texts.toldHelp),
    tag && tag.aliases.length > 0 && h("p", null, texts.aliases(tag.aliases)),
    h(
      "div",
      { className: "haven-buttons" },
      tag && hasOwn && !isListed && h(Button, { variant: "secondary", size: "sm", onClick: () => setMeaning(null) }, texts.stashText),
      tag && h(Link, { to: `/tags/${tag.id}`, className: "btn btn-secondary btn-sm" }, texts.inStash),
    ),
  );
}
