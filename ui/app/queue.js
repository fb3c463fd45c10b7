/** The tab "Queue": what waits, how long it takes, start and stop, and what failed last time. */

import { agoText } from "../model/time.js";
import { Fault, Findings, Section, messageOf, useLoaded, whenLoaded } from "./parts.js";
import { Cause } from "./report.js";
import { call, startTask, stopTask } from "./stash.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").Status} Status */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const h = React.createElement;

/** @param {{shell: Shell}} props */
export default function Queue({ shell }) {
  const status = useLoaded(React.useCallback((signal) => call(shell, "status", {}, signal), [shell]));
  const [task, setTask] = React.useState(shell.task.get());
  React.useEffect(() => shell.task.listen(() => setTask(shell.task.get())), [shell]);
  const isIdle = !task;
  // What waits, and the last run, are other ones when a task has ended.
  const first = React.useRef(true);
  React.useEffect(() => {
    if (!first.current && isIdle) status.reload();
    first.current = false;
  }, [isIdle]);
  return whenLoaded(status, (value) =>
    h(
      React.Fragment,
      null,
      h(Section, { title: texts.queue.waits }, h("p", null, waiting(value)), !isEmpty(value) && h(Forecast, { key: JSON.stringify(value.queued), shell })),
      h(Start, { shell, task, isRunning: value.is_running }),
      value.last_run && h(LastRun, { key: value.last_run.stem, shell, run: value.last_run }),
    ),
  );
}

/** @param {Status} status */
const isEmpty = ({ queued }) => queued?.scenes === 0 && queued.images === 0;

/** @param {Status} status */
function waiting(status) {
  const { queued } = status;
  if (!queued) return texts.queue.unknown;
  return isEmpty(status) ? texts.queue.empty : texts.queue.counts(queued.scenes, queued.images);
}

/** @param {{shell: Shell}} props */
function Forecast({ shell }) {
  const loaded = useLoaded(React.useCallback((signal) => call(shell, "forecast", {}, signal), [shell]));
  return whenLoaded(loaded, ({ sections }) => h(Findings, { sections }));
}

/** @param {{shell: Shell, task: import("../plugin-api").TaskState | null, isRunning: boolean}} props */
function Start({ shell, task, isRunning }) {
  const [note, setNote] = React.useState("");
  const start = async (/** @type {keyof typeof texts.queue.tasks} */ mode) => {
    setNote("");
    try {
      const { ended } = await startTask(shell, texts.queue.tasks[mode].text, { mode });
      setNote(await ended);
    } catch (error) {
      setNote(messageOf(error));
    }
  };
  const stop = () => task && stopTask(shell, task.id).catch((error) => setNote(messageOf(error)));
  const modes = /** @type {(keyof typeof texts.queue.tasks)[]} */ (Object.keys(texts.queue.tasks));
  return h(
    Section,
    { title: texts.queue.start },
    !task && isRunning && h("p", null, texts.queue.elsewhere),
    task
      ? h(Progress, { task, stop })
      : h(
          "ul",
          { className: "haven-tasks" },
          modes.map((mode) =>
            h(
              "li",
              { key: mode },
              h(Button, { variant: "secondary", onClick: () => start(mode) }, texts.queue.tasks[mode].text),
              h("span", { className: "text-muted" }, texts.queue.tasks[mode].help),
            ),
          ),
        ),
    h(Fault, { fault: note }),
  );
}

/** @param {{task: import("../plugin-api").TaskState, stop: () => void}} props */
function Progress({ task, stop }) {
  const percent = Math.round((task.progress ?? 0) * 100);
  return h(
    "div",
    { role: "status" },
    h("p", null, texts.queue.running(task.text, task.progress === null ? null : percent)),
    h("div", { className: "progress" }, h("div", { className: "progress-bar", style: { width: `${percent}%` } })),
    h("div", { className: "haven-buttons" }, h(Button, { variant: "danger", size: "sm", onClick: stop }, texts.queue.stop)),
  );
}

/** @param {{shell: Shell, run: import("../contract").RunSummary}} props */
function LastRun({ shell, run }) {
  const loaded = useLoaded(
    React.useCallback((signal) => call(shell, "run", { stem: run.stem }, signal), [shell, run.stem]),
  );
  return h(
    Section,
    { title: texts.queue.last },
    h("p", null, `${run.task}, ${agoText(run.ended, Date.now() / 1000)}: ${run.end_line || run.end}`),
    h(Fault, { fault: run.error }),
    whenLoaded(loaded, ({ causes }) =>
      causes.length
        ? causes.map((cause) => h(Cause, { key: cause.error, cause }))
        : h("p", { className: "text-muted" }, texts.queue.nothingFailed),
    ),
  );
}
