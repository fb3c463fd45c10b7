/** How hard to look: one slider, with what its places cost and miss. */

import { STEPS, minutesPerHour, nearest, relativeTime } from "../model/effort.js";
import { Fault, Section } from "./parts.js";
import { valueOf } from "./setup.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../contract").SettingsValue} SettingsValue */
/** @typedef {import("./setup.js").Save} Save */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const h = React.createElement;
const NAME = "VIDEO_SEARCH_EFFORT";

/**
 * `perSecond`: questions that the servers answer in a second by their last check, 0 without one.
 * @param {{settings: SettingsValue, save: Save, perSecond: number}} props
 */
export function Effort({ settings, save, perSecond }) {
  const stored = nearest(valueOf(settings, NAME, 1));
  const [draft, setDraft] = React.useState(/** @type {number | null} */ (null));
  const [fault, setFault] = React.useState("");
  const place = draft ?? stored;
  const store = async () => {
    const left = await save([{ name: NAME, value: JSON.stringify(STEPS[place].effort) }]);
    setFault(left);
    if (!left) setDraft(null);
  };
  const minutes = minutesPerHour(place, perSecond);
  const cost = minutes === null ? texts.effort.relative(relativeTime(place)) : texts.effort.minutes(minutes);
  return h(
    Section,
    { title: texts.effort.title },
    h(
      "div",
      { className: "haven-slider" },
      h("span", null, texts.effort.quick),
      h("input", { type: "range", className: "custom-range", min: 0, max: STEPS.length - 1, step: 1, value: place, "aria-label": texts.effort.title, "aria-valuetext": cost, onChange: (/** @type {any} */ event) => setDraft(Number(event.target.value)) }),
      h("span", null, texts.effort.thorough),
    ),
    h("p", null, `${cost}, ${texts.effort.missed(STEPS[place].missed)}`),
    minutes === null && h("p", { className: "text-muted" }, texts.effort.check),
    h(Fault, { fault }),
    draft !== null && draft !== stored && h(Button, { variant: "primary", onClick: store }, texts.save),
  );
}
