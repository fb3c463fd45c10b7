/** Stash's queue of jobs as the plugin reads it: which of them are the plugin's own tasks. */

/** @typedef {{id: string, status: string, description: string, progress: number | null}} Job */
/** @typedef {import("../plugin-api").TaskState} TaskState */

/** Descriptions of tasks that these pages started begin with it, so that every browser knows them. */
export const PREFIX = "VLM: ";
const OF_PLUGINS = "Running plugin task: ";

/**
 * Return the plugin's tasks that are not over, in their order. A name that another plugin's task has
 * too is not taken for ours.
 * @param {readonly Job[]} jobs
 * @param {ReadonlySet<string>} names of tasks that only this plugin has
 * @returns {TaskState[]}
 */
export const ownTasks = (jobs, names) =>
  jobs.flatMap(({ id, status, description, progress }) => {
    const text = taskText(description, names);
    return !text || isOver(status) ? [] : [{ id: String(id), text, progress: status === "READY" ? null : (progress ?? 0) }];
  });

/**
 * Return whether some job can only be told by the names of tasks.
 * @param {readonly Job[]} jobs
 */
export const needsNames = (jobs) =>
  jobs.some(({ description }) => description.startsWith(OF_PLUGINS) && !description.startsWith(OF_PLUGINS + PREFIX));

/**
 * @param {string} description
 * @param {ReadonlySet<string>} names
 */
function taskText(description, names) {
  if (!description.startsWith(OF_PLUGINS)) return "";
  const name = description.slice(OF_PLUGINS.length);
  if (name.startsWith(PREFIX)) return name.slice(PREFIX.length);
  return names.has(name) ? name : "";
}

/** @param {string} status */
export const isOver = (status) => ["FINISHED", "CANCELLED", "FAILED"].includes(status);

/**
 * Return the names of tasks that only one plugin has.
 * @param {readonly {id: string, tasks: readonly {name: string}[] | null}[]} plugins
 * @param {string} pluginId
 * @returns {Set<string>}
 */
export function namesOf(plugins, pluginId) {
  const names = new Set(plugins.filter(({ id }) => id === pluginId).flatMap(taskNames));
  for (const name of plugins.filter(({ id }) => id !== pluginId).flatMap(taskNames)) names.delete(name);
  return names;
}

/** @param {{tasks: readonly {name: string}[] | null}} plugin */
const taskNames = ({ tasks }) => (tasks ?? []).map(({ name }) => name);
