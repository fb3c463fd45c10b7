/** Why a scene has no markers, and what would change that with one click. */

import { percentText } from "../model/confidence.js";
import { harder } from "../model/effort.js";
import { reasons } from "../model/reasons.js";
import { stretchText } from "../model/time.js";
import { emptiness as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").ItemEvidence} ItemEvidence */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const h = React.createElement;
const SET_UP = "/plugins/haven-vlm";

/**
 * @typedef {object} Props
 * @property {Shell} shell
 * @property {ItemEvidence} evidence
 * @property {import("./tab.js").Again} again
 * @property {(place: {row: number, span: number}) => void} onSelect
 */

/** @param {Props} props */
export function Emptiness({ shell, evidence, again, onSelect }) {
  if (evidence.looked_at === null) return h("p", null, evidence.note || texts.never);
  const found = reasons(evidence);
  if (!found.length) return evidence.note ? h("p", null, evidence.note) : null;
  const { Link } = shell.api.libraries.ReactRouterDOM;
  const button = (/** @type {string} */ label, /** @type {() => void} */ onClick) =>
    h(Button, { variant: "secondary", size: "sm", onClick, disabled: again.isRunning }, label);
  const link = (/** @type {string} */ label) => h(Link, { to: SET_UP, className: "btn btn-secondary btn-sm" }, label);
  const parts = {
    unread: (/** @type {any} */ one) => [texts.unread(one.count, one.all), button(texts.askAgain, () => again.start())],
    threshold: (/** @type {any} */ one) => [
      texts.threshold(one.tag, stretchText(one.start_s, one.end_s), percentText(one.confidence), percentText(one.threshold)),
      button(texts.show, () => onSelect(one.place)),
      link(texts.changeThreshold),
    ],
    silent: (/** @type {any} */ one) => [texts.silent(one.frames), link(texts.checkServers)],
    effort: (/** @type {any} */ one) => {
      const [step] = harder(one.effort);
      return [texts.effort(one.missed), step && button(texts.lookHarder, () => again.start(step.effort))];
    },
    tags: (/** @type {any} */ one) => [texts.tags(one.tags), link(texts.changeTags)],
  };
  return h(
    React.Fragment,
    null,
    h("p", null, found[0].kind === "threshold" ? texts.nothingAbove : texts.nothing),
    h(
      "ul",
      { className: "haven-reasons" },
      found.map((one) => h("li", { key: one.kind }, ...parts[one.kind](one))),
    ),
  );
}
