/** Three steps for a first visit: server, tags, one scene. They go when a run was made. */

import { useLoaded } from "./parts.js";
import { call } from "./stash.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").SettingsValue} SettingsValue */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Link } = api.libraries.ReactRouterDOM;
const h = React.createElement;
const CONSTANTS = "haven_vlm_config.py";

/** @param {{shell: Shell, settings: SettingsValue, isServerSound: boolean}} props */
export function Steps({ shell, settings, isServerSound }) {
  const { value: runs } = useLoaded(
    React.useCallback((signal) => call(shell, "runs", { page: 0 }, signal), [shell]),
  );
  if (!runs || runs.runs.some(({ task }) => task !== "Check Set-up")) return null;
  const tags = settings.values.filter(({ name }) => name === "TAG_LIST" || name === "STASH_TAGS");
  const steps = [
    { text: texts.steps.server, isDone: isServerSound },
    { text: texts.steps.tags, isDone: tags.some(({ source }) => !source.startsWith(CONSTANTS)) },
    { text: texts.steps.scene, isDone: false },
  ];
  return h(
    "div",
    { className: "haven-steps card" },
    h("strong", null, texts.steps.title),
    h(
      "ol",
      null,
      steps.map(({ text, isDone }) =>
        h("li", { key: text, className: isDone ? "is-done" : "" }, text, isDone && ` ✓ ${texts.steps.done}`),
      ),
    ),
    h(Link, { to: "/scenes", className: "btn btn-secondary btn-sm" }, texts.steps.toScenes),
  );
}
