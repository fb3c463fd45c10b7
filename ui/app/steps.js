/**
 * A first visit: server and tags in one form, whose button saves both, checks the server and tags
 * one scene. It goes when a run was made.
 */

import { isSameAddress, summary, unchanged, withChange } from "../model/endpoints.js";
import { listText, parseList } from "../model/tags.js";
import { Fault, messageOf, useLoaded } from "./parts.js";
import { checkKey, hasTags, isSet, valueOf } from "./setup.js";
import { startTagging } from "./start.js";
import { call, startTask } from "./stash.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").SettingsValue} SettingsValue */
/** @typedef {import("../contract").SettingChange} SettingChange */
/** @typedef {import("../contract").SectionValue} SectionValue */
/** @typedef {{id: string, title: string, files: {basename: string}[]}} NewestScene */
/** @typedef {"" | "packages" | "saving" | "checking" | "tagging" | "done"} Stage */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Link } = api.libraries.ReactRouterDOM;
const { Button, Form } = api.libraries.Bootstrap;
const h = React.createElement;
const ADDRESS = "http://localhost:1234/v1";

/**
 * `settings` is null where the plugin's Python packages are missing: then they are installed first.
 * @param {{
 *   shell: Shell, settings: SettingsValue | null, isServerSound: boolean,
 *   load: () => Promise<SettingsValue>,
 *   change: (before: SettingsValue, changes: SettingChange[]) => Promise<SettingsValue>,
 *   setCheck: (key: string, section: SectionValue | null) => void,
 * }} props
 */
export function Steps({ shell, settings, isServerSound, load, change, setCheck }) {
  const isComplete = !!settings;
  const { value: isNew } = useLoaded(
    React.useCallback((signal) => (isComplete ? hasNoRun(shell, signal) : Promise.resolve(true)), [shell, isComplete]),
  );
  const { value: scene } = useLoaded(React.useCallback(() => newestScene(shell), [shell]));
  const [address, setAddress] = React.useState(/** @type {string | null} */ (null));
  const [tags, setTags] = React.useState(/** @type {string | null} */ (null));
  const [stage, setStage] = React.useState(/** @type {Stage} */ (""));
  const [fault, setFault] = React.useState("");
  const [endLine, setEndLine] = React.useState("");
  if (!isNew && !stage) return null;
  const shownAddress = address ?? settings?.endpoints[0]?.address ?? ADDRESS;
  const shownTags = tags ?? (settings ? tagText(settings) : "");
  const isWanted = !!settings && hasTags(settings);
  const isBusy = !!stage && stage !== "done" && !fault;
  const run = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setFault("");
    try {
      let current = settings;
      if (!current) {
        setStage("packages");
        await (await startTask(shell, texts.queue.tasks.check_setup.text, { mode: "check_setup" })).ended;
        current = await load();
      }
      setStage("saving");
      const changes = changesOf(current, shownAddress, shownTags);
      const saved = changes.length ? await change(current, changes) : current;
      setStage("checking");
      const { sections } = await call(shell, "check", { endpoint: 0 });
      setCheck(checkKey(saved.endpoints[0]), sections[0]);
      const { light, finding } = summary(sections[0]);
      if (!sections[0].works) throw new Error(`${texts.lights[light]}: ${finding.text}`);
      if (scene) {
        setStage("tagging");
        const left = await (await startTagging(shell, "scenes", [scene.id])).ended;
        if (left) throw new Error(left);
        const [last] = (await call(shell, "runs", { page: 0 })).runs;
        if (last?.error) throw new Error(last.error);
        setEndLine(last?.end_line ?? "");
      }
      setStage("done");
    } catch (error) {
      setFault(messageOf(error));
    }
  };
  const steps = [
    { text: texts.steps.server, isDone: isServerSound },
    { text: texts.steps.tags, isDone: isWanted },
    { text: scene ? texts.steps.scene(nameOf(scene)) : texts.steps.noScene, isDone: stage === "done" && !!scene },
  ];
  return h(
    Form,
    { className: "haven-steps card", onSubmit: run },
    h("strong", null, texts.steps.title),
    h(
      "ol",
      null,
      steps.map(({ text, isDone }) =>
        h("li", { key: text, className: isDone ? "is-done" : "" }, text, isDone && ` ✓ ${texts.steps.done}`),
      ),
    ),
    h(
      "div",
      { className: "haven-columns" },
      h(
        Form.Group,
        null,
        h(Form.Label, { htmlFor: "haven-first-server" }, texts.steps.address),
        h(Form.Control, { id: "haven-first-server", className: "text-input", autoFocus: true, required: true, disabled: isBusy, value: shownAddress, onChange: (/** @type {any} */ event) => setAddress(event.target.value) }),
        h(Form.Text, { className: "text-muted" }, texts.servers.addressHelp),
      ),
      h(
        Form.Group,
        null,
        h(Form.Label, { htmlFor: "haven-first-tags" }, texts.steps.tagList),
        h(Form.Control, { id: "haven-first-tags", as: "textarea", rows: 3, className: "text-input", required: !isWanted, disabled: isBusy, placeholder: texts.steps.tagExample, value: shownTags, onChange: (/** @type {any} */ event) => setTags(event.target.value) }),
        h(Form.Text, { className: "text-muted" }, isWanted && !shownTags ? texts.steps.chosen : texts.steps.tagHelp),
      ),
    ),
    h("p", { className: "text-muted" }, texts.steps.help(!settings, !!scene)),
    h(Fault, { fault }),
    isBusy && h("p", { role: "status" }, texts.steps.stages[stage]),
    stage === "done" && endLine && h("p", { role: "status" }, endLine),
    h(
      "div",
      { className: "haven-buttons" },
      stage === "done" && scene
        ? h(Link, { to: `/scenes/${scene.id}`, className: "btn btn-primary btn-sm" }, texts.steps.toScene)
        : h(Button, { type: "submit", variant: "primary", size: "sm", disabled: isBusy }, scene ? texts.steps.start : texts.servers.save),
      scene && h(Link, { to: "/scenes", className: "btn btn-secondary btn-sm" }, texts.steps.toScenes),
    ),
  );
}

/**
 * Return true until a task other than the check has run.
 * @param {Shell} shell
 * @param {AbortSignal} signal
 */
async function hasNoRun(shell, signal) {
  const { runs } = await call(shell, "runs", { page: 0 }, signal);
  return !runs.some(({ task }) => task !== texts.queue.tasks.check_setup.text);
}

/**
 * Return the scene that was added last, or null.
 * @param {Shell} shell
 * @returns {Promise<NewestScene | null>}
 */
async function newestScene(shell) {
  const { gql } = shell.api.libraries.Apollo;
  const query = gql`
    query HavenNewestScene {
      findScenes(filter: { per_page: 1, sort: "created_at", direction: DESC }) {
        scenes {
          id
          title
          files {
            basename
          }
        }
      }
    }
  `;
  const { data } = await shell.api.utils.StashService.getClient().query({ query, variables: {}, fetchPolicy: "no-cache" });
  return data.findScenes.scenes[0] ?? null;
}

/** @param {NewestScene} scene */
const nameOf = ({ id, title, files }) => title || files[0]?.basename || id;

/**
 * Return the tag list as text; empty while it is the example that nobody has set.
 * @param {SettingsValue} settings
 */
const tagText = (settings) =>
  isSet(settings, "TAG_LIST")
    ? listText(valueOf(settings, "TAG_LIST", /** @type {string[]} */ ([])), valueOf(settings, "TAG_DESCRIPTIONS", {}))
    : "";

/**
 * Return tags one to a line. A comma in a line with a meaning belongs to the meaning.
 * @param {string} text
 */
const linesOf = (text) =>
  text
    .split("\n")
    .flatMap((line) => (line.includes(":") ? [line] : line.split(",")))
    .join("\n");

/**
 * Return what the form changes of the settings.
 * @param {SettingsValue} settings
 * @param {string} address
 * @param {string} tags
 */
function changesOf(settings, address, tags) {
  /** @type {SettingChange[]} */
  const changes = [];
  const [first] = settings.endpoints;
  if (!first || !isSameAddress(first.address, address)) {
    const moved = { ...(first ? { ...unchanged(first, 0), name: "", model_id: null } : {}), base_url: address.trim(), key: /** @type {const} */ ("none") };
    changes.push({ name: "ENDPOINTS", value: JSON.stringify(withChange(settings.endpoints, 0, moved)) });
  }
  if (tags !== tagText(settings)) {
    const wanted = parseList(linesOf(tags));
    const meanings = wanted.filter(({ meaning }) => meaning).map(({ name, meaning }) => [name, meaning]);
    changes.push({ name: "TAG_LIST", value: JSON.stringify(wanted.map(({ name }) => name)) });
    if (meanings.length) changes.push({ name: "TAG_DESCRIPTIONS", value: JSON.stringify(Object.fromEntries(meanings)) });
  }
  return changes;
}
