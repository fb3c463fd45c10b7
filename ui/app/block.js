/** The plugin's block on Stash's settings page: its state, and which settings hide others. */

import { agoText } from "../model/time.js";
import { Fault, useLoaded } from "./parts.js";
import { hasTags, isSet, overrides } from "./setup.js";
import { callBoth } from "./stash.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").Status} Status */
/** @typedef {import("../contract").SettingsValue} SettingsValue */

const { React } = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const h = React.createElement;

/** @param {{shell: Shell}} props */
export default function Block({ shell }) {
  const { value, fault } = useLoaded(
    React.useCallback((signal) => callBoth(shell, "status", "settings", signal), [shell]),
  );
  if (fault) return h(Fault, { fault });
  if (!value) return h("p", { className: "text-muted" }, texts.loading);
  const [status, settings] = value;
  const { faults } = settings;
  return h(
    "div",
    null,
    h("div", null, faults.length ? texts.block.faulty(status.version, faults.length) : texts.block.works(status.version)),
    faults.map((one) => h(Fault, { key: one, fault: one })),
    defaults(settings).map((text) => h("div", { key: text }, text)),
    h("div", { className: "text-muted" }, lastRun(status)),
    overrides(settings).map((text) => h("div", { key: text, className: "text-muted" }, text)),
  );
}

/** @param {Status} status */
function lastRun({ is_running: isRunning, last_run: run }) {
  if (isRunning) return texts.block.running;
  if (!run) return texts.block.noRun;
  return texts.block.lastRun(run.task, agoText(run.ended, Date.now() / 1000), run.error || run.end_line);
}

/** @param {SettingsValue} settings */
function defaults(settings) {
  return [
    ...(isSet(settings, "ENDPOINTS") ? [] : [texts.block.noServer(settings.endpoints.map(({ address }) => address).join(", "))]),
    ...(hasTags(settings) ? [] : [texts.block.exampleTags]),
  ];
}
