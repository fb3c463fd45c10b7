/** The servers that answer: rows with their check, and a form to add or change one. */

import { atOnce, isSameAddress, summary, unchanged, withChange } from "../model/endpoints.js";
import { Fault, Findings, Section, messageOf, useLoaded } from "./parts.js";
import { checkKey } from "./setup.js";
import { call } from "./stash.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").SettingsValue} SettingsValue */
/** @typedef {import("../contract").EndpointValue} EndpointValue */
/** @typedef {import("../contract").EndpointChange} EndpointChange */
/** @typedef {import("../contract").SectionValue} SectionValue */
/** @typedef {import("./setup.js").Save} Save */
/** @typedef {(key: string, section: SectionValue | null) => void} SetCheck */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button, Form } = api.libraries.Bootstrap;
const h = React.createElement;
const DEFAULT = { address: "http://localhost:1234/v1", name: "LM Studio" };
/** @type {EndpointValue} */
const EMPTY = { name: "", address: "http://", key: "none", model: "", weight: 1, is_fallback: false, max_concurrent: null };

/** @param {{shell: Shell, settings: SettingsValue, save: Save, checks: ReadonlyMap<string, SectionValue>, setCheck: SetCheck}} props */
export function Endpoints({ shell, settings, save, checks, setCheck }) {
  const { endpoints } = settings;
  const [edited, setEdited] = React.useState(-1);
  const [fresh, setFresh] = React.useState("");
  const store = async (/** @type {number} */ index, /** @type {EndpointChange | null} */ change) => {
    const value = JSON.stringify(withChange(endpoints, index, change));
    const fault = await save([{ name: "ENDPOINTS", value }]);
    if (fault) return fault;
    setEdited(-1);
    if (change) {
      const key = checkKey({ address: change.base_url.replace(/\/+$/, ""), model: change.model_id ?? "" });
      setCheck(key, null);
      setFresh(key);
    }
    return "";
  };
  const add = () => setEdited(endpoints.length);
  const rows = endpoints.map((endpoint, index) => {
    const key = checkKey(endpoint);
    if (index === edited) {
      const close = () => setEdited(-1);
      return h(EndpointForm, { key: `form ${key}`, shell, index, endpoint, isNew: false, store, close });
    }
    const props = { shell, endpoint, index, check: checks.get(key), setCheck, startsNow: fresh === key };
    return h(Row, { key, ...props, edit: () => setEdited(index), remove: () => store(index, null) });
  });
  return h(
    Section,
    { title: texts.servers.title, help: texts.servers.help },
    endpoints.length === 0 && h("p", null, texts.servers.none),
    rows,
    edited === endpoints.length
      ? h(EndpointForm, { shell, index: edited, endpoint: EMPTY, isNew: true, store, close: () => setEdited(-1) })
      : h(Button, { variant: "secondary", onClick: add }, texts.servers.add),
  );
}

/** @param {{shell: Shell, endpoint: EndpointValue, index: number, check: SectionValue | undefined, setCheck: SetCheck, startsNow: boolean, edit: () => void, remove: () => Promise<string>}} props */
function Row({ shell, endpoint, index, check, setCheck, startsNow, edit, remove }) {
  const [isChecking, setChecking] = React.useState(false);
  const [isOpen, setOpen] = React.useState(false);
  const [fault, setFault] = React.useState("");
  const run = async () => {
    setChecking(true);
    setFault("");
    try {
      const { sections } = await call(shell, "check", { endpoint: index });
      setCheck(checkKey(endpoint), sections[0]);
    } catch (error) {
      setFault(messageOf(error));
    }
    setChecking(false);
  };
  React.useEffect(() => {
    if (startsNow) void run();
  }, [startsNow]);
  const found = check && !isChecking ? summary(check) : null;
  const light = isChecking ? "checking" : (found?.light ?? "unknown");
  return h(
    "div",
    { className: "haven-endpoint card" },
    h(
      "div",
      { className: "haven-title" },
      h("span", { className: `haven-light is-${light}`, "aria-hidden": true }),
      h("strong", null, endpoint.name || endpoint.address),
      h("span", { className: "haven-state" }, texts.lights[light]),
      endpoint.is_fallback && h("span", { className: "badge badge-secondary" }, texts.servers.fallback),
    ),
    h("div", { className: "haven-facts text-muted" }, facts(endpoint).map((text) => h("span", { key: text }, text))),
    found && h("p", null, `${found.finding.what}: ${found.finding.text}`),
    isChecking && h("p", { className: "text-muted", role: "status" }, texts.servers.checking),
    h(Fault, { fault }),
    h(
      "div",
      { className: "haven-buttons" },
      h(Button, { variant: "primary", size: "sm", disabled: isChecking, onClick: run }, texts.servers.check),
      h(Button, { variant: "secondary", size: "sm", onClick: edit }, texts.servers.edit),
      h(Remove, { name: endpoint.name || endpoint.address, remove, setFault }),
      check && h(Button, { variant: "secondary", size: "sm", className: "minimal", "aria-expanded": isOpen, onClick: () => setOpen(!isOpen) }, texts.servers.findings(check.findings.length)),
    ),
    isOpen && check && h(Findings, { sections: [check] }),
  );
}

/** @param {EndpointValue} endpoint */
const facts = ({ name, address, key, model, max_concurrent: most }) => [
  ...(name ? [address] : []), // without a name it is the title
  texts.keys[key],
  model ? texts.servers.model(model) : texts.servers.anyModel,
  ...(most === null ? [] : [texts.servers.atOnce(String(most))]),
];

/** @param {{name: string, remove: () => Promise<string>, setFault: (fault: string) => void}} props */
function Remove({ name, remove, setFault }) {
  const [isSure, setSure] = React.useState(false);
  if (!isSure) return h(Button, { variant: "secondary", size: "sm", onClick: () => setSure(true) }, texts.servers.remove);
  const go = async () => setFault(await remove());
  return h(
    React.Fragment,
    null,
    h(Button, { variant: "danger", size: "sm", autoFocus: true, onClick: go }, texts.servers.removeNow(name)),
    h(Button, { variant: "secondary", size: "sm", onClick: () => setSure(false) }, texts.cancel),
  );
}

/** @param {{shell: Shell, index: number, endpoint: EndpointValue, isNew: boolean, store: (index: number, change: EndpointChange) => Promise<string>, close: () => void}} props */
function EndpointForm({ shell, index, endpoint, isNew, store, close }) {
  const [draft, setDraft] = React.useState(() => ({
    ...unchanged(endpoint, index),
    key: /** @type {"keep" | "none" | "set"} */ (endpoint.key === "none" ? "none" : "keep"),
    secret: "",
    most: endpoint.max_concurrent === null ? "" : String(endpoint.max_concurrent),
  }));
  const [fault, setFault] = React.useState("");
  const [isSaving, setSaving] = React.useState(false);
  const change = (/** @type {Partial<typeof draft>} */ part) => setDraft({ ...draft, ...part });
  // The default server's name is its program's: it goes when the address does.
  const move = (/** @type {string} */ base_url) => {
    const isDefault = !isNew && endpoint.address === DEFAULT.address && endpoint.name === DEFAULT.name;
    const isNamed = !!draft.name && draft.name !== DEFAULT.name;
    change(isDefault && !isNamed ? { base_url, name: isSameAddress(DEFAULT.address, base_url) ? DEFAULT.name : "" } : { base_url });
  };
  const canKeep = !isNew && endpoint.key !== "none" && isSameAddress(endpoint.address, draft.base_url);
  const chosen = draft.key === "keep" && !canKeep ? "none" : draft.key;
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const most = atOnce(draft.most);
    if (most === undefined) return setFault(texts.servers.badAtOnce);
    if (chosen === "set" && !draft.secret) return setFault(texts.servers.noKey);
    const { secret, most: _, ...rest } = draft;
    setSaving(true);
    const key = chosen === "set" ? { set: secret } : chosen;
    const left = await store(index, { ...rest, base_url: draft.base_url.trim(), key, was: isNew ? null : index, max_concurrent: most });
    if (!left) return undefined;
    setSaving(false);
    return setFault(left);
  };
  const id = `haven-endpoint-${index}`;
  return h(
    Form,
    { className: "haven-form card", onSubmit: submit },
    h(Field, { id: `${id}-address`, label: texts.servers.address, help: texts.servers.addressHelp }, h(Form.Control, { id: `${id}-address`, className: "text-input", autoFocus: true, required: true, value: draft.base_url, onChange: typed(move) })),
    h(Field, { id: `${id}-name`, label: texts.servers.name }, h(Form.Control, { id: `${id}-name`, className: "text-input", value: draft.name ?? "", onChange: typed((name) => change({ name })) })),
    h(KeyField, { id, canKeep, chosen, secret: draft.secret, isMoved: !isNew && endpoint.key !== "none" && !canKeep, change }),
    h(ModelField, { shell, id, index, model: draft.model_id ?? "", isStored: !isNew && isSameAddress(endpoint.address, draft.base_url), setModel: (/** @type {string} */ model) => change({ model_id: model || null }) }),
    h(Field, { id: `${id}-most`, label: texts.servers.most, help: texts.servers.mostHelp }, h(Form.Control, { id: `${id}-most`, className: "text-input", value: draft.most, onChange: typed((most) => change({ most })) })),
    h(Form.Check, { id: `${id}-fallback`, type: "checkbox", label: texts.servers.fallbackHelp, checked: !!draft.is_fallback, onChange: () => change({ is_fallback: !draft.is_fallback }) }),
    h(Fault, { fault }),
    h(
      "div",
      { className: "haven-buttons" },
      h(Button, { type: "submit", variant: "primary", disabled: isSaving }, texts.servers.save),
      h(Button, { variant: "secondary", onClick: close }, texts.cancel),
    ),
  );
}

/**
 * Return an event handler that takes the text of an input.
 * @param {(text: string) => void} take
 */
const typed = (take) => (/** @type {{target: {value: string}}} */ event) => take(event.target.value);

/** @param {{id: string, label: string, help?: string, children?: import("../plugin-api").Node}} props */
const Field = ({ id, label, help, children }) =>
  h(
    Form.Group,
    null,
    h(Form.Label, { htmlFor: id }, label),
    children,
    help && h(Form.Text, { className: "text-muted" }, help),
  );

/** @param {{id: string, canKeep: boolean, chosen: "keep" | "none" | "set", secret: string, isMoved: boolean, change: (part: {key?: "keep" | "none" | "set", secret?: string}) => void}} props */
function KeyField({ id, canKeep, chosen, secret, isMoved, change }) {
  /** @type {("keep" | "none" | "set")[]} */
  const choices = canKeep ? ["keep", "none", "set"] : ["none", "set"];
  return h(
    "fieldset",
    { className: "form-group" },
    h("legend", null, texts.servers.key),
    choices.map((one) =>
      h(Form.Check, { key: one, inline: true, id: `${id}-key-${one}`, type: "radio", name: `${id}-key`, label: texts.servers.keyChoices[one], checked: chosen === one, onChange: () => change({ key: one }) }),
    ),
    chosen === "set" && h(Form.Control, { className: "text-input", type: "password", autoComplete: "off", "aria-label": texts.servers.keyChoices.set, value: secret, onChange: typed((text) => change({ secret: text })) }),
    isMoved && h(Form.Text, { className: "text-muted" }, texts.servers.moved),
  );
}

/** @param {{shell: Shell, id: string, index: number, model: string, isStored: boolean, setModel: (model: string) => void}} props */
function ModelField({ shell, id, index, model, isStored, setModel }) {
  const offers = useLoaded(
    React.useCallback(
      async (signal) => (isStored ? (await call(shell, "models", { endpoint: index }, signal)).models : []),
      [shell, index, isStored],
    ),
  );
  const list = offers.value ?? [];
  const help = !isStored ? texts.servers.saveFirst : offers.value ? texts.servers.modelHelp : !offers.fault ? texts.servers.askingModels : undefined;
  return h(
    Field,
    { id: `${id}-model`, label: texts.servers.modelLabel, help },
    h(Form.Control, { id: `${id}-model`, className: "text-input", value: model, onChange: typed(setModel) }),
    h(
      "div",
      { className: "haven-offers" },
      list.map(({ name, vision }) =>
        h(Button, { key: name, variant: name === model ? "primary" : "secondary", size: "sm", disabled: vision === false, onClick: () => setModel(name) }, `${name}${texts.servers.vision(vision)}`),
      ),
    ),
    h(Fault, { fault: offers.fault, retry: offers.reload }),
  );
}
