/** The tab "Set-up": servers, what to look for, how hard, and everything else folded away. */

import { questionsPerSecond } from "../model/endpoints.js";
import { Advanced } from "./advanced.js";
import { Effort } from "./effort.js";
import { Endpoints } from "./endpoints.js";
import { Fault, Section, messageOf, useLoaded, whenLoaded } from "./parts.js";
import { CallError, call } from "./stash.js";
import { Steps } from "./steps.js";
import { page as texts } from "./texts.js";
import { WantedTags } from "./wanted.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").SettingsValue} SettingsValue */
/** @typedef {import("../contract").SettingChange} SettingChange */
/** @typedef {import("../contract").SectionValue} SectionValue */
/** @typedef {(changes: SettingChange[]) => Promise<string>} Save resolves to a fault, or "" */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const h = React.createElement;

/**
 * The last check of each endpoint by its address and model: it stays while the page of Stash does.
 * @type {Map<string, SectionValue>}
 */
const checks = new Map();

/** @param {{shell: Shell}} props */
export default function SetUp({ shell }) {
  const loaded = useLoaded(React.useCallback((signal) => call(shell, "settings", {}, signal), [shell]));
  const [, setCount] = React.useState(0);
  /** @type {Save} */
  const save = (changes) => write((revision) => call(shell, "change_settings", { revision, changes }));
  const undo = () => write((revision) => call(shell, "undo_settings", { revision }));
  const write = async (/** @type {(revision: number) => Promise<SettingsValue>} */ change) => {
    const { revision } = /** @type {SettingsValue} */ (loaded.value);
    try {
      loaded.set(await change(revision));
      return "";
    } catch (error) {
      if (!(error instanceof CallError) || error.code !== "changed") return messageOf(error);
      loaded.reload();
      return texts.settingsChanged;
    }
  };
  const setCheck = (/** @type {string} */ key, /** @type {SectionValue | null} */ section) => {
    if (section) checks.set(key, section);
    else checks.delete(key);
    setCount((count) => count + 1);
  };
  const load = async () => {
    const settings = await call(shell, "settings", {});
    loaded.set(settings);
    return settings;
  };
  const change = async (/** @type {SettingsValue} */ { revision }, /** @type {SettingChange[]} */ changes) => {
    const settings = await call(shell, "change_settings", { revision, changes });
    loaded.set(settings);
    return settings;
  };
  const { value = null, code } = loaded;
  const needsPackages = !value && code === "packages"; // the form installs them
  const isServerSound = !!value?.endpoints.some((endpoint) => checks.get(checkKey(endpoint))?.works);
  return h(
    React.Fragment,
    null,
    (value || needsPackages) && h(Steps, { shell, settings: value, isServerSound, load, change, setCheck }),
    !needsPackages && whenLoaded(loaded, (settings) => h(Parts, { shell, settings, save, undo, setCheck, setSettings: loaded.set })),
  );
}

/** @param {{shell: Shell, settings: SettingsValue, save: Save, undo: () => Promise<string>, setCheck: (key: string, section: SectionValue | null) => void, setSettings: (settings: SettingsValue) => void}} props */
function Parts({ shell, settings, save, undo, setCheck, setSettings }) {
  const measured = settings.endpoints.map((endpoint) => checks.get(checkKey(endpoint)));
  const perSecond = measured.reduce((sum, one) => sum + (one ? questionsPerSecond(one) : 0), 0);
  return h(
    React.Fragment,
    null,
    settings.faults.map((fault) => h(Fault, { key: fault, fault })),
    overrides(settings).map((text) => h("p", { key: text, className: "text-muted" }, text)),
    h(Endpoints, { shell, settings, save, checks, setCheck }),
    h(WantedTags, { shell, settings, save }),
    h(Effort, { settings, save, perSecond }),
    h(Advanced, { shell, settings, save, setSettings }),
    settings.can_undo && h(UndoChange, { undo }),
  );
}

/** @param {{undo: () => Promise<string>}} props */
function UndoChange({ undo }) {
  const [fault, setFault] = React.useState("");
  return h(
    Section,
    { title: texts.undoSettings.title, help: texts.undoSettings.help },
    h(Button, { variant: "secondary", size: "sm", onClick: async () => setFault(await undo()) }, texts.undoSettings.now),
    h(Fault, { fault }),
  );
}

/**
 * Return a sentence for each setting that is set in several places.
 * @param {SettingsValue} settings
 */
export const overrides = ({ values }) =>
  values.filter(({ hides }) => hides.length).map(({ name, source, hides }) => texts.hides(name, source, hides));

/**
 * Return the name under which the check of an endpoint is kept.
 * @param {{address: string, model: string}} endpoint
 */
export const checkKey = ({ address, model }) => `${address} ${model}`;

/**
 * Return true if somebody has set a setting, so that it is not the default.
 * @param {SettingsValue} settings
 * @param {string} name
 */
export const isSet = ({ values }, name) =>
  values.some((one) => one.name === name && !one.source.startsWith("haven_vlm_config.py"));

/**
 * Return true if somebody has said what to look for; else the example counts.
 * @param {SettingsValue} settings
 */
export const hasTags = (settings) => isSet(settings, "TAG_LIST") || isSet(settings, "STASH_TAGS");

/**
 * Return the value of a setting, or `missing` where it cannot be read.
 * @template Value
 * @param {SettingsValue} settings
 * @param {string} name
 * @param {Value} missing
 * @returns {Value}
 */
export function valueOf(settings, name, missing) {
  const found = settings.values.find((one) => one.name === name);
  return found ? JSON.parse(found.value) : missing;
}
