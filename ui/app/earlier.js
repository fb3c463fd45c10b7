/** Settings of an earlier plugin: a file is chosen, what it sets is shown, and then taken over. */

import { Fault, Fold, messageOf } from "./parts.js";
import { call } from "./stash.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").SettingsValue} SettingsValue */
/** @typedef {import("../contract").EarlierSettingsValue} EarlierSettingsValue */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button, Form } = api.libraries.Bootstrap;
const h = React.createElement;

/** @param {{shell: Shell, revision: number, setSettings: (settings: SettingsValue) => void}} props */
export function EarlierSettings({ shell, revision, setSettings }) {
  const [text, setText] = React.useState("");
  const [found, setFound] = React.useState(/** @type {EarlierSettingsValue | null} */ (null));
  const [isTaken, setTaken] = React.useState(false);
  const [fault, setFault] = React.useState("");
  /** @param {() => Promise<void>} work */
  const guarded = async (work) => {
    setFault("");
    try {
      await work();
    } catch (error) {
      setFault(messageOf(error));
    }
  };
  const choose = (/** @type {any} */ event) =>
    guarded(async () => {
      const [file] = event.target.files;
      setFound(null);
      setTaken(false);
      if (!file) return;
      const chosen = await file.text();
      setFound(await call(shell, "earlier_settings", { revision, text: chosen, write: false }));
      setText(chosen);
    });
  const take = () =>
    guarded(async () => {
      const after = await call(shell, "earlier_settings", { revision, text, write: true });
      setTaken(true);
      setSettings(after.settings);
    });
  return h(
    Fold,
    { title: texts.earlier.title },
    h("p", { className: "text-muted" }, texts.earlier.help),
    h(Form.Label, { htmlFor: "haven-earlier" }, texts.earlier.file),
    h(Form.Control, { id: "haven-earlier", type: "file", accept: ".py,.txt", onChange: choose }),
    h(Fault, { fault }),
    found && h("ul", { className: "haven-list" }, found.taken.map(taken), found.notes.map(note)),
    found &&
      (isTaken
        ? h("p", { role: "status" }, texts.earlier.done)
        : h(Button, { variant: "primary", size: "sm", onClick: take }, texts.earlier.take(found.taken.length))),
  );
}

/** @param {import("../contract").TakenSetting} one */
const taken = ({ name, value }) =>
  h("li", { key: name }, h("strong", null, name), h("span", { className: "haven-value" }, value));

/** @param {string} text */
const note = (text) => h("li", { key: text, className: "text-muted" }, h("span", null, text));
