/** The tab "Set-up": servers, what to look for, how hard, and everything else folded away. */

import { questionsPerSecond } from "../model/endpoints.js";
import { Advanced } from "./advanced.js";
import { Effort } from "./effort.js";
import { Endpoints } from "./endpoints.js";
import { Fault, messageOf, useLoaded, whenLoaded } from "./parts.js";
import { CallError, call } from "./stash.js";
import { Steps } from "./steps.js";
import { page as texts } from "./texts.js";
import { WantedTags } from "./wanted.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").SettingsValue} SettingsValue */
/** @typedef {import("../contract").SettingChange} SettingChange */
/** @typedef {import("../contract").SectionValue} SectionValue */
/** @typedef {(changes: SettingChange[]) => Promise<string>} Save resolves to a fault, or "" */

const { React } = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
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
  const save = async (changes) => {
    const { revision } = /** @type {SettingsValue} */ (loaded.value);
    try {
      loaded.set(await call(shell, "change_settings", { revision, changes }));
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
  return whenLoaded(loaded, (settings) => h(Parts, { shell, settings, save, setCheck, setSettings: loaded.set }));
}

/** @param {{shell: Shell, settings: SettingsValue, save: Save, setCheck: (key: string, section: SectionValue | null) => void, setSettings: (settings: SettingsValue) => void}} props */
function Parts({ shell, settings, save, setCheck, setSettings }) {
  const measured = settings.endpoints.map((endpoint) => checks.get(checkKey(endpoint)));
  const perSecond = measured.reduce((sum, one) => sum + (one ? questionsPerSecond(one) : 0), 0);
  return h(
    React.Fragment,
    null,
    settings.faults.map((fault) => h(Fault, { key: fault, fault })),
    h(Steps, { shell, settings, isServerSound: measured.some((one) => one?.works) }),
    h(Endpoints, { shell, settings, save, checks, setCheck }),
    h(WantedTags, { shell, settings, save }),
    h(Effort, { settings, save, perSecond }),
    h(Advanced, { shell, settings, save, setSettings }),
  );
}

/**
 * Return the name under which the check of an endpoint is kept.
 * @param {{address: string, model: string}} endpoint
 */
export const checkKey = ({ address, model }) => `${address} ${model}`;

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
