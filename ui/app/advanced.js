/** Every other setting: its value, where it comes from, and a field for those that a page may set. */

import { EarlierSettings } from "./earlier.js";
import { Fault, Fold, Section } from "./parts.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").SettingsValue} SettingsValue */
/** @typedef {import("../contract").SettingValue} SettingValue */
/** @typedef {import("./setup.js").Save} Save */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button, Form } = api.libraries.Bootstrap;
const h = React.createElement;
/** Settings that have a place of their own on this page. */
const ELSEWHERE = ["ENDPOINTS", "TAG_LIST", "TAG_DESCRIPTIONS", "STASH_TAGS", "RESPECT_IGNORE_AUTO_TAG", "VIDEO_SEARCH_EFFORT"];
/** The start of the source of settings that the page wrote. */
const FROM_PAGE = "settings.json";

/** @param {{shell: Shell, settings: SettingsValue, save: Save, setSettings: (settings: SettingsValue) => void}} props */
export function Advanced({ shell, settings, save, setSettings }) {
  const others = settings.values.filter(({ name }) => !ELSEWHERE.includes(name));
  return h(
    Section,
    { title: texts.advanced.title },
    h(
      Fold,
      { title: texts.advanced.fold(others.length) },
      // A stored value makes the row anew, so that no draft hides it.
      others.map((setting) => h(Row, { key: `${setting.name} ${setting.value} ${setting.source}`, setting, save })),
    ),
    h(EarlierSettings, { shell, revision: settings.revision, setSettings }),
  );
}

/** @param {{setting: SettingValue, save: Save}} props */
function Row({ setting, save }) {
  const { name, value, source, text, kind, is_editable: isEditable } = setting;
  const plain = textOf(setting);
  const [draft, setDraft] = React.useState(plain);
  const [fault, setFault] = React.useState("");
  const id = `haven-setting-${name}`;
  const store = async (/** @type {string | null} */ json) => {
    const left = await save([{ name, value: json }]);
    if (left) setFault(left); // without a fault another row has taken the place of this one
  };
  const control =
    kind === "switch"
      ? h(Form.Check, { id, type: "switch", label: name, disabled: !isEditable, checked: value === "true", onChange: () => store(String(value !== "true")) })
      : h(Field, { id, setting, draft, setDraft });
  return h(
    "div",
    { className: "haven-setting" },
    kind !== "switch" && h(Form.Label, { htmlFor: id }, name),
    control,
    h(Form.Text, { className: "text-muted" }, text),
    h(Form.Text, { className: "text-muted" }, isEditable ? texts.from(source) : `${texts.from(source)} ${texts.advanced.byHand}`),
    h(Fault, { fault }),
    h(
      "div",
      { className: "haven-buttons" },
      draft !== plain && h(Button, { variant: "primary", size: "sm", onClick: () => store(jsonOf(kind, draft)) }, texts.save),
      draft !== plain && h(Button, { variant: "secondary", size: "sm", onClick: () => setDraft(plain) }, texts.cancel),
      source.startsWith(FROM_PAGE) && h(Button, { variant: "secondary", size: "sm", onClick: () => store(null) }, texts.advanced.reset),
    ),
  );
}

/** @param {{id: string, setting: SettingValue, draft: string, setDraft: (text: string) => void}} props */
function Field({ id, setting, draft, setDraft }) {
  const { kind, is_editable: isEditable } = setting;
  const isLong = kind === "list" || kind === "object";
  const form = isLong ? { as: "textarea", rows: Math.min(8, draft.split("\n").length) } : kind === "number" ? { type: "number", step: "any" } : {};
  return h(Form.Control, { id, className: "text-input", spellCheck: false, disabled: !isEditable, value: draft, onChange: (/** @type {any} */ event) => setDraft(event.target.value), ...form });
}

/**
 * Return the text that a person edits: JSON on several lines for lists and objects.
 * @param {SettingValue} setting
 */
function textOf({ kind, value }) {
  const parsed = JSON.parse(value);
  if (kind === "list" || kind === "object") return JSON.stringify(parsed, null, 1);
  return parsed === null ? "" : String(parsed);
}

/**
 * Return the JSON text of what a person entered. Text that is no number is sent as it is, so that
 * the plugin says what is wrong with it.
 * @param {SettingValue["kind"]} kind
 * @param {string} draft
 */
const jsonOf = (kind, draft) =>
  kind === "text" || (kind === "number" && (!draft.trim() || Number.isNaN(Number(draft)))) ? JSON.stringify(draft) : draft;
