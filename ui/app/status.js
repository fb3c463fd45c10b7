/** The tab "Status" of the plugin's page: the queue and the last run. */

import { agoText } from "../model/time.js";
import { call } from "./stash.js";
import { texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").Status} StatusValue */

const { React } = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const h = React.createElement;

/** @param {{shell: Shell}} props */
export default function Status({ shell }) {
  const [status, setStatus] = React.useState(/** @type {StatusValue | null} */ (null));
  const [fault, setFault] = React.useState("");
  React.useEffect(() => {
    call(shell, "status", {}).then(setStatus, (error) => setFault(error.message));
  }, [shell]);
  if (fault) return h("p", { className: "text-danger", role: "alert" }, fault);
  const lines = status ? statusLines(status) : [texts.loading];
  return h(React.Fragment, null, lines.map((line) => h("p", { key: line }, line)));
}

/** @param {StatusValue} status */
function statusLines({ queued, last_run: run, is_running: isRunning }) {
  const now = Date.now() / 1000;
  return [
    isRunning ? texts.running : "",
    queued ? texts.queued(queued.scenes, queued.images) : texts.noQueue,
    run ? texts.lastRun(run.task, agoText(run.ended, now)) : texts.noRun,
    run?.error || run?.end_line || "",
  ].filter(Boolean);
}
