/** The calls to the plugin and to Stash, and the task that is followed. */

import { texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").BatchReply} BatchReply */
/** @typedef {import("../contract").Call} Call */
/** @typedef {import("../contract").Operation} Operation */
/** @typedef {import("../contract").Operations} Operations */

const API = 1;
const MOST_AT_ONCE = 2;
const BUSY_WAIT_MS = 700;
const FOLLOW_MS = 1500;
const STORED = "haven-task";

/** A call that the plugin refused or that brought no reply. `code` is one of the contract's. */
export class CallError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   */
  constructor(code, message) {
    super(texts.failure(code, message));
    this.code = code;
  }
}

let free = MOST_AT_ONCE;
/** @type {(() => void)[]} */
const waiting = [];

/**
 * Run `work` when fewer than two calls are under way: a browser has six connections, and the
 * player needs them too.
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function inTurn(work) {
  if (free > 0) free -= 1;
  else await new Promise((/** @type {(value?: any) => void} */ resolve) => waiting.push(resolve));
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next) next();
    else free += 1;
  }
}

/**
 * Return the values of a batch of operations, in their order.
 * @param {Shell} shell
 * @param {Call[]} calls
 * @param {AbortSignal} [signal] for reads only: the plugin is killed when the request ends
 * @returns {Promise<any[]>}
 * @throws {CallError} when one of them fails
 */
async function send(shell, calls, signal) {
  const { gql } = shell.api.libraries.Apollo;
  const mutation = gql`
    mutation HavenPages($plugin: ID!, $args: Map) {
      runPluginOperation(plugin_id: $plugin, args: $args)
    }
  `;
  const variables = { plugin: shell.pluginId, args: { mode: "pages", api: API, calls } };
  const context = signal ? { fetchOptions: { signal } } : {};
  const client = shell.api.utils.StashService.getClient();
  const work = () => client.mutate({ mutation, variables, context, fetchPolicy: "no-cache" });
  /** @type {BatchReply | null | undefined} */
  const batch = (await inTurn(work).catch(refused)).data?.runPluginOperation;
  if (!batch) throw new CallError("unexpected", texts.noReply);
  if (!batch.ok) throw new CallError(batch.code, batch.message);
  return batch.replies.map((reply) => {
    if (!reply.ok) throw new CallError(reply.code, reply.message);
    return reply.value;
  });
}

/**
 * Return the values of two operations without arguments, which one process answers.
 * @template {Operation} First
 * @template {Operation} Second
 * @param {Shell} shell
 * @param {First} first
 * @param {Second} second
 * @param {AbortSignal} [signal]
 * @returns {Promise<[Operations[First]["value"], Operations[Second]["value"]]>}
 * @throws {CallError} when one of them fails
 */
export async function callBoth(shell, first, second, signal) {
  const calls = /** @type {Call[]} */ ([{ op: first }, { op: second }]);
  return /** @type {[any, any]} */ (await send(shell, calls, signal));
}

/**
 * Say that the plugin could not run, where Stash answered with an error.
 * @param {any} error
 * @returns {never}
 */
function refused(error) {
  if (error.networkError || error.name === "AbortError") throw error;
  throw new CallError("unexpected", texts.notRun(error.message));
}

/**
 * Return the value of one operation. A busy plugin is asked once more.
 * @template {Operation} Op
 * @param {Shell} shell
 * @param {Op} op
 * @param {Operations[Op]["arguments"]} args
 * @param {AbortSignal} [signal] for reads only: the plugin is killed when the request ends
 * @returns {Promise<Operations[Op]["value"]>}
 * @throws {CallError}
 */
export async function call(shell, op, args, signal) {
  const one = /** @type {Call} */ ({ op, ...args });
  try {
    return (await send(shell, [one], signal))[0];
  } catch (error) {
    if (!(error instanceof CallError) || error.code !== "busy") throw error;
    await pause(BUSY_WAIT_MS);
    return (await send(shell, [one], signal))[0];
  }
}

/** @param {number} duration milliseconds */
const pause = (duration) => new Promise((resolve) => setTimeout(resolve, duration));

/**
 * Make Stash's own page show what was written to an item.
 * @param {Shell} shell
 * @param {"FindScene" | "FindImage" | "FindGallery"} query
 */
export const refresh = (shell, query) =>
  shell.api.utils.StashService.getClient().refetchQueries({ include: [query] });

/**
 * Queue a task of the plugin, follow it in the ring, and return its end.
 * @param {Shell} shell
 * @param {string} description
 * @param {object} args
 * @returns {Promise<{id: string, ended: Promise<string>}>} `ended` is a fault, or "" when it went well
 */
export async function startTask(shell, description, args) {
  const { gql } = shell.api.libraries.Apollo;
  const mutation = gql`
    mutation HavenStart($plugin: ID!, $description: String, $args: Map) {
      runPluginTask(plugin_id: $plugin, description: $description, args_map: $args)
    }
  `;
  const variables = { plugin: shell.pluginId, description, args };
  const client = shell.api.utils.StashService.getClient();
  const { data } = await client.mutate({ mutation, variables });
  const id = String(data.runPluginTask);
  sessionStorage.setItem(STORED, JSON.stringify({ id, text: description }));
  return { id, ended: follow(shell, id, description) };
}

/**
 * Follow a job until it ends. The ring shows the last one that was started.
 * @param {Shell} shell
 * @param {string} id
 * @param {string} text
 */
async function follow(shell, id, text) {
  const { gql } = shell.api.libraries.Apollo;
  const query = gql`
    query HavenJob($id: ID!) {
      findJob(input: { id: $id }) {
        id
        status
        progress
        error
      }
    }
  `;
  const client = shell.api.utils.StashService.getClient();
  const isCurrent = () => shell.task.get()?.id === id;
  shell.task.set({ id, text, progress: null });
  try {
    for (;;) {
      const { data } = await client.query({ query, variables: { id }, fetchPolicy: "no-cache" });
      const fault = ended(data.findJob);
      if (fault !== null) return fault;
      if (isCurrent()) shell.task.set({ id, text, progress: data.findJob.progress });
      await pause(FOLLOW_MS);
    }
  } finally {
    if (isCurrent()) {
      shell.task.set(null);
      sessionStorage.removeItem(STORED);
    }
  }
}

/**
 * Return null while a job goes on, "" when it ended well, else the fault. Stash forgets old jobs.
 * @param {{status: string, error: string | null} | null} job
 */
function ended(job) {
  if (!job || job.status === "FINISHED") return "";
  if (job.status === "FAILED") return texts.taskFailed(job.error ?? "no reason given");
  return job.status === "CANCELLED" ? texts.taskStopped : null;
}

/**
 * Stop a job, as the button on Stash's Tasks page does.
 * @param {Shell} shell
 * @param {string} id
 */
export function stopTask(shell, id) {
  const { gql } = shell.api.libraries.Apollo;
  const mutation = gql`
    mutation HavenStop($id: ID!) {
      stopJob(job_id: $id)
    }
  `;
  return shell.api.utils.StashService.getClient().mutate({ mutation, variables: { id } });
}

/**
 * Follow the task that was started before the page was loaded anew.
 * @param {Shell} shell
 */
export function resume(shell) {
  const stored = sessionStorage.getItem(STORED);
  if (!stored) return undefined;
  const { id, text } = JSON.parse(stored);
  return follow(shell, id, text);
}

/**
 * Return the position of Stash's player in seconds, or null when there is none. The player is made
 * anew now and then, so it is never kept.
 * @param {Shell} shell
 */
export const playerTime = (shell) => player(shell)?.currentTime() ?? null;

/**
 * Play from a position.
 * @param {Shell} shell
 * @param {number} seconds
 */
export function play(shell, seconds) {
  const found = player(shell);
  found?.currentTime(seconds);
  found?.play();
}

/**
 * @param {Shell} shell
 * @returns {import("../plugin-api").Player | undefined}
 */
function player(shell) {
  const found = shell.api.utils.InteractiveUtils?.getPlayer?.();
  return found ?? /** @type {any} */ (document.getElementById("VideoJsPlayer"))?.player;
}
