/** The dialogue that starts a task. It says first how long the task takes and what it writes. */

import { MOST_IDS, filterOf, filterOfRequests, forecastArguments, taggingMode, taskArguments } from "../model/scope.js";
import { Fault, Findings, messageOf, useLoaded, whenLoaded } from "./parts.js";
import { call, startTask } from "./stash.js";
import { texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../model/scope.js").Kind} Kind */
/** @typedef {import("../model/scope.js").Scope} Scope */
/** @typedef {{mode: string, scope: Scope}} Start what a task does, and with which items */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React, ReactDOM } = api;
const { Button, Modal } = api.libraries.Bootstrap;
const h = React.createElement;

/**
 * Queue the task that tags these items. `settings`: those that this task has other values for.
 * @param {Shell} shell
 * @param {Kind} kind
 * @param {readonly string[]} ids
 * @param {Record<string, string>} [settings]
 */
export const startTagging = (shell, kind, ids, settings = {}) =>
  begin(shell, { kind, ids }, taggingMode({ kind, ids }), settings);

/**
 * Queue a task about a scope.
 * @param {Shell} shell
 * @param {Scope} scope
 * @param {string} mode
 * @param {object} [more] further arguments
 */
export const begin = (shell, scope, mode, more = {}) =>
  startTask(shell, titleOf(scope, mode), { mode, ...taskArguments(scope), ...more });

/**
 * @param {Scope} scope
 * @param {string} mode
 */
function titleOf(scope, mode) {
  const { name } = texts.modes[mode];
  return "exceptTags" in scope ? name : `${name} ${scopeText(scope)}`;
}

/** @param {Scope} scope */
function scopeText(scope) {
  if ("exceptTags" in scope) return texts.scope.isNew;
  return "ids" in scope ? texts.scope.chosen[scope.kind](scope.ids.length) : texts.scope.shown[scope.kind];
}

/**
 * Open the dialogue for chosen items, and for all that their list shows. It lies in an element of
 * its own, so that it works from any page.
 * @param {Shell} shell
 * @param {{kind: Kind, ids: readonly string[], filter?: import("../plugin-api").ListFilter | null}} items
 *   `filter`: that of the list; null without a list, and looked for where it is left out
 */
export function open(shell, { kind, ids, filter }) {
  const shown = filter === null ? null : (filterOf(filter) ?? listOnPage(shell, kind));
  const scopes = [...(ids.length ? [{ kind, ids }] : []), ...(shown ? [{ kind, filter: shown }] : [])];
  choose(shell, scopes.map((scope) => ({ mode: taggingMode(scope), scope })));
}

/**
 * Open the dialogue with these starts to choose from.
 * @param {Shell} shell
 * @param {readonly Start[]} starts
 */
export function choose(shell, starts) {
  const place = document.body.appendChild(document.createElement("div"));
  const close = () => {
    ReactDOM.unmountComponentAtNode(place);
    place.remove();
  };
  ReactDOM.render(h(Dialogue, { shell, starts, close }), place);
}

/**
 * Return the filter of the list on this page, from the requests that the page has made for it.
 * @param {Shell} shell
 * @param {Kind} kind
 */
function listOnPage(shell, kind) {
  const requests = shell.api.utils.StashService.getClient().getObservableQueries?.();
  return requests ? filterOfRequests(requests.values(), kind) : null;
}

/** @param {{shell: Shell, starts: readonly Start[], close: () => void}} props */
function Dialogue({ shell, starts, close }) {
  const [start, setStart] = React.useState(/** @type {Start | undefined} */ (starts[0]));
  const [isStarted, setStarted] = React.useState(false);
  const isDone = isStarted || !start;
  return h(
    Modal,
    { show: true, onHide: close, animation: false },
    h(Modal.Header, null, start ? titleOf(start.scope, start.mode) : "VLM"),
    h(
      Modal.Body,
      null,
      !start && h("p", null, texts.nothingSelected),
      isStarted && h("p", null, texts.started),
      !isDone && starts.length > 1 && h(Choice, { starts, start, onChange: setStart }),
      !isDone && h(Plan, { key: starts.indexOf(start), shell, ...start, onStart: () => setStarted(true) }),
    ),
    h(Modal.Footer, null, h(Button, { variant: "secondary", onClick: close }, isDone ? texts.close : texts.cancel)),
  );
}

/** @param {{starts: readonly Start[], start: Start, onChange: (start: Start) => void}} props */
const Choice = ({ starts, start, onChange }) =>
  h(
    "div",
    { className: "haven-choice", role: "radiogroup" },
    starts.map((one) =>
      h(
        "label",
        { key: scopeText(one.scope) },
        h("input", { type: "radio", name: "haven-scope", checked: one === start, onChange: () => onChange(one) }),
        scopeText(one.scope),
      ),
    ),
  );

/** @param {import("../contract").SectionValue} section */
const withoutWrites = (section) => ({ ...section, findings: section.findings.filter(({ what }) => what !== "writes") });

/**
 * The forecast of a task, and the buttons that start it or its preview.
 * @param {{shell: Shell, scope: Scope, mode: string, more?: object, onStart: (ended: Promise<string>) => void}} props
 */
export function Plan({ shell, scope, mode, more, onStart }) {
  const isTooMany = "ids" in scope && scope.ids.length > MOST_IDS;
  const key = JSON.stringify(forecastArguments(isTooMany ? { ...scope, ids: [] } : scope));
  const forecast = useLoaded(
    React.useCallback((signal) => call(shell, "forecast", JSON.parse(key), signal), [shell, key]),
  );
  const [isSent, setSent] = React.useState(false);
  const [fault, setFault] = React.useState("");
  if (isTooMany) return h("p", null, texts.tooMany(MOST_IDS));
  const start = async (/** @type {string} */ chosen) => {
    setSent(true);
    setFault("");
    try {
      const { ended } = await begin(shell, scope, chosen, more);
      onStart(ended);
    } catch (error) {
      setFault(messageOf(error));
    }
    setSent(false);
  };
  const section = forecast.value?.sections[0];
  const isEmpty = !!section?.findings.some(({ what, figures }) => what === "queue" && !figures.scenes && !figures.images);
  const isReady = !isSent && !isEmpty && (!!section || !!forecast.fault);
  const { help } = texts.modes[mode];
  const isPreview = mode === "preview";
  return h(
    React.Fragment,
    null,
    h("p", null, help),
    whenLoaded(forecast, ({ sections }) => h(Findings, { sections: isPreview ? sections.map(withoutWrites) : sections })),
    !isPreview && h("p", { className: "text-muted" }, texts.taskSafe),
    h(Fault, { fault }),
    h(
      "div",
      { className: "haven-buttons" },
      h(Button, { variant: "primary", disabled: !isReady, title: help, onClick: () => start(mode) }, texts.startNow),
      !("exceptTags" in scope) &&
        !isPreview &&
        h(Button, { variant: "secondary", disabled: !isReady, title: texts.modes.preview.help, onClick: () => start("preview") }, texts.modes.preview.name),
    ),
  );
}
