/** The dialogue that starts a task about chosen items. It says first what the task writes. */

import { startTask } from "./stash.js";
import { texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {"scenes" | "images" | "galleries"} Kind */

const MOST_ITEMS = 2000;
/** @type {Record<Kind, string>} */
const MODES = { scenes: "tag_videos", images: "tag_images", galleries: "tag_images" };

/**
 * Queue the task that tags these items. `settings`: those that this task has other values for.
 * @param {Shell} shell
 * @param {Kind} kind
 * @param {readonly string[]} ids
 * @param {Record<string, string>} [settings]
 */
export const startTagging = (shell, kind, ids, settings = {}) =>
  startTask(shell, texts.task[kind](ids.length), { mode: MODES[kind], [kind]: ids.join(","), ...settings });

/**
 * Open the dialogue. It lies in an element of its own, so that it works from any page.
 * @param {Shell} shell
 * @param {Kind} kind
 * @param {readonly string[]} ids
 */
export function open(shell, kind, ids) {
  const { React, ReactDOM } = shell.api;
  const place = document.body.appendChild(document.createElement("div"));
  const close = () => {
    ReactDOM.unmountComponentAtNode(place);
    place.remove();
  };
  ReactDOM.render(React.createElement(Dialogue, { shell, kind, ids, close }), place);
}

/** @param {{shell: Shell, kind: Kind, ids: readonly string[], close: () => void}} props */
function Dialogue({ shell, kind, ids, close }) {
  const { React } = shell.api;
  const { Button, Modal } = shell.api.libraries.Bootstrap;
  const h = React.createElement;
  const [state, setState] = React.useState(/** @type {"open" | "sent" | "started"} */ ("open"));
  const [fault, setFault] = React.useState("");
  const refusal = refused(ids);
  const start = async () => {
    setState("sent");
    try {
      await startTagging(shell, kind, ids);
      setState("started");
    } catch (error) {
      setFault(error instanceof Error ? error.message : String(error));
      setState("open");
    }
  };
  const lines = refusal
    ? [refusal]
    : state === "started"
      ? [texts.started]
      : [texts.taskHelp[kind], texts.taskSafe];
  const isDone = !!refusal || state === "started";
  return h(
    Modal,
    { show: true, onHide: close, animation: false },
    h(Modal.Header, null, refusal ? "VLM" : texts.task[kind](ids.length)),
    h(
      Modal.Body,
      null,
      lines.map((line) => h("p", { key: line }, line)),
      fault && h("p", { className: "text-danger", role: "alert" }, fault),
    ),
    h(
      Modal.Footer,
      null,
      h(Button, { variant: "secondary", onClick: close }, isDone ? texts.close : texts.cancel),
      !isDone &&
        h(Button, { variant: "primary", disabled: state !== "open", onClick: start }, texts.startNow),
    ),
  );
}

/** @param {readonly string[]} ids */
function refused(ids) {
  if (!ids.length) return texts.nothingSelected;
  return ids.length > MOST_ITEMS ? texts.tooMany(MOST_ITEMS) : "";
}
