/** The tab "Queue": what waits, how long it takes, start and stop, and what failed last time. */

import { MOST_IDS, canRetry, retries } from "../model/scope.js";
import { agoText } from "../model/time.js";
import { Fault, Findings, Fold, Section, messageOf, useLoaded, whenLoaded } from "./parts.js";
import { Cause } from "./report.js";
import { Plan, choose } from "./start.js";
import { call, startTask, stopTask } from "./stash.js";
import { TagPicker } from "./tag_picker.js";
import { page as texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../plugin-api").TaskState} TaskState */
/** @typedef {import("../contract").Status} Status */

const api = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const { React } = api;
const { Button } = api.libraries.Bootstrap;
const h = React.createElement;

/** @param {{shell: Shell}} props */
export default function Queue({ shell }) {
  const status = useLoaded(React.useCallback((signal) => call(shell, "status", {}, signal), [shell]));
  const [tasks, setTasks] = React.useState(shell.tasks.get());
  React.useEffect(() => shell.tasks.listen(() => setTasks(shell.tasks.get())), [shell]);
  // What waits, and the last run, are other ones when a task has ended.
  const before = React.useRef(0);
  React.useEffect(() => {
    if (tasks.length < before.current) status.reload();
    before.current = tasks.length;
  }, [tasks.length]);
  return whenLoaded(status, (value) =>
    h(
      React.Fragment,
      null,
      h(Section, { title: texts.queue.waits }, h("p", null, waiting(value)), !isEmpty(value) && h(Forecast, { key: JSON.stringify(value.queued), shell })),
      h(Tasks, { shell, tasks }),
      !tasks.length && value.is_running && h("p", null, texts.queue.elsewhere),
      h(Start, { shell }),
      h(Everything, { shell }),
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

/** @param {{shell: Shell}} props */
function Start({ shell }) {
  const [note, setNote] = React.useState("");
  const [order, setOrder] = React.useState("oldest");
  const start = async (/** @type {keyof typeof texts.queue.tasks} */ mode) => {
    setNote("");
    try {
      const args = order === "oldest" || mode === "check_setup" ? { mode } : { mode, order };
      const { ended } = await startTask(shell, texts.queue.tasks[mode].text, args);
      setNote(await ended);
    } catch (error) {
      setNote(messageOf(error));
    }
  };
  const modes = /** @type {(keyof typeof texts.queue.tasks)[]} */ (Object.keys(texts.queue.tasks));
  return h(
    Section,
    { title: texts.queue.start },
    h(Order, { order, onChange: setOrder }),
    h(
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

/** @param {{order: string, onChange: (order: string) => void}} props */
const Order = ({ order, onChange }) =>
  h(
    "label",
    { className: "haven-order" },
    texts.queue.order,
    h(
      "select",
      { className: "form-control text-input", value: order, onChange: (/** @type {any} */ { target }) => onChange(target.value) },
      Object.entries(texts.queue.orders).map(([name, text]) => h("option", { key: name, value: name }, text)),
    ),
  );

/**
 * The plugin's tasks in Stash's queue, wherever they were started.
 * @param {{shell: Shell, tasks: readonly TaskState[]}} props
 */
function Tasks({ shell, tasks }) {
  const [fault, setFault] = React.useState("");
  const stop = (/** @type {string} */ id) => stopTask(shell, id).catch((error) => setFault(messageOf(error)));
  if (!tasks.length) return null;
  return h(
    Section,
    { title: texts.queue.tasksNow },
    tasks.map((task) => h(Progress, { key: task.id, task, stop: () => stop(task.id) })),
    h(Fault, { fault }),
  );
}

/** @param {{task: TaskState, stop: () => void}} props */
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

/**
 * The start of a task for everything that is not tagged yet.
 * @param {{shell: Shell}} props
 */
function Everything({ shell }) {
  const [exceptTags, setExcept] = React.useState(/** @type {readonly string[]} */ ([]));
  const [note, setNote] = React.useState("");
  const started = (/** @type {Promise<string>} */ ended) => void ended.then(setNote);
  const add = (/** @type {string} */ tag) => setExcept([...new Set([...exceptTags, tag])]);
  const remove = (/** @type {string} */ tag) => setExcept(exceptTags.filter((one) => one !== tag));
  const { title, help, except } = texts.queue.everything;
  return h(
    Fold,
    { title },
    h("p", { className: "text-muted" }, help),
    h(TagPicker, { shell, label: except, chosen: exceptTags, onAdd: add, onRemove: remove }),
    h(Plan, { shell, scope: { exceptTags }, mode: "tag_new", onStart: started }),
    h(Fault, { fault: note }),
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
        ? [...causes.map((cause) => h(Cause, { key: cause.error, cause })), h(Retry, { key: "", shell, run })]
        : h("p", { className: "text-muted" }, texts.queue.nothingFailed),
    ),
  );
}

/**
 * The button that tries the items again that failed in a run.
 * @param {{shell: Shell, run: import("../contract").RunSummary}} props
 */
function Retry({ shell, run }) {
  const [isLoading, setLoading] = React.useState(false);
  const [fault, setFault] = React.useState("");
  const retry = async () => {
    setLoading(true);
    setFault("");
    try {
      choose(shell, retries(run.task, await failedItems(shell, run.stem)));
    } catch (error) {
      setFault(messageOf(error));
    }
    setLoading(false);
  };
  if (!canRetry(run.task)) return null;
  return h(
    "div",
    { className: "haven-buttons" },
    h(Button, { variant: "secondary", size: "sm", disabled: isLoading, onClick: retry }, texts.queue.again),
    h(Fault, { fault }),
  );
}

/**
 * Return the items that failed in a run. Its report has them first.
 * @param {Shell} shell
 * @param {string} stem
 */
async function failedItems(shell, stem) {
  const failed = [];
  for (let page = 0; ; page += 1) {
    const { items, more } = await call(shell, "run", { stem, page });
    const some = items.filter(({ outcome }) => outcome === "failed");
    failed.push(...some);
    if (!more || some.length < items.length || failed.length >= MOST_IDS) return failed;
  }
}
