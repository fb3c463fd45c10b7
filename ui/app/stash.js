/** The calls to the plugin and to Stash, and the tasks that are followed. */

import { PREFIX, isOver, namesOf, needsNames, ownTasks } from "../model/jobs.js";
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
const IDLE_MS = 5000;
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
  if (!isWatching) watch(shell);
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
 * Queue a task of the plugin and return its end. The ring shows it.
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
  const variables = { plugin: shell.pluginId, description: PREFIX + description, args };
  const client = shell.api.utils.StashService.getClient();
  const { data } = await client.mutate({ mutation, variables });
  const id = String(data.runPluginTask);
  const ended = new Promise((/** @type {(fault: string) => void} */ resolve) => ends.set(id, resolve));
  watch(shell);
  return { id, ended };
}

/**
 * What waits for the end of a task, by the id of its job.
 * @type {Map<string, (fault: string) => void>}
 */
const ends = new Map();
let isWatching = false;
let wake = () => {};

/**
 * Follow the plugin's tasks from now on, also those that were started in another place. Stash is
 * asked seldom while there are none, and not at all while the page is hidden.
 * @param {Shell} shell
 */
export function watch(shell) {
  if (isWatching) return wake();
  isWatching = true;
  document.addEventListener("visibilitychange", () => wake());
  void watching(shell);
}

/** @param {Shell} shell */
async function watching(shell) {
  for (;;) {
    if (!document.hidden || ends.size) await readJobs(shell).catch(() => undefined);
    const isBusy = ends.size > 0 || shell.tasks.get().length > 0;
    await new Promise((/** @type {(value?: any) => void} */ resolve) => {
      wake = resolve;
      setTimeout(resolve, isBusy ? FOLLOW_MS : IDLE_MS);
    });
  }
}

/** @param {Shell} shell */
async function readJobs(shell) {
  const { gql } = shell.api.libraries.Apollo;
  const query = gql`
    query HavenJobs {
      jobQueue {
        id
        status
        description
        progress
      }
    }
  `;
  const client = shell.api.utils.StashService.getClient();
  const waiting = [...ends.keys()];
  /** @type {import("../model/jobs.js").Job[]} */
  const jobs = (await client.query({ query, fetchPolicy: "no-cache" })).data.jobQueue ?? [];
  const tasks = ownTasks(jobs, needsNames(jobs) ? await taskNames(shell) : new Set());
  const isNew = JSON.stringify(tasks) !== JSON.stringify(shell.tasks.get());
  if (isNew) shell.tasks.set(tasks);
  if (tasks.length) sessionStorage.setItem(STORED, "yes");
  else sessionStorage.removeItem(STORED);
  const going = new Set(jobs.filter(({ status }) => !isOver(status)).map(({ id }) => String(id)));
  for (const id of waiting.filter((one) => !going.has(one))) {
    const fault = await faultOf(shell, id);
    ends.get(id)?.(fault);
    ends.delete(id);
  }
}

/** @type {Promise<Set<string>> | null} */
let names = null;

/**
 * Return the names of tasks that only this plugin has, which are asked for once.
 * @param {Shell} shell
 */
function taskNames(shell) {
  const { gql } = shell.api.libraries.Apollo;
  const query = gql`
    query HavenTasks {
      plugins {
        id
        tasks {
          name
        }
      }
    }
  `;
  const client = shell.api.utils.StashService.getClient();
  names ??= client.query({ query }).then(({ data }) => namesOf(data.plugins ?? [], shell.pluginId));
  names.catch(() => (names = null));
  return names;
}

/**
 * Return "" if a job that is over ended well, else the fault. Stash forgets old jobs.
 * @param {Shell} shell
 * @param {string} id
 */
async function faultOf(shell, id) {
  const { gql } = shell.api.libraries.Apollo;
  const query = gql`
    query HavenJob($id: ID!) {
      findJob(input: { id: $id }) {
        id
        status
        error
      }
    }
  `;
  const client = shell.api.utils.StashService.getClient();
  const { data } = await client.query({ query, variables: { id }, fetchPolicy: "no-cache" });
  if (data.findJob?.status === "FAILED") return texts.taskFailed(data.findJob.error ?? "no reason given");
  return data.findJob?.status === "CANCELLED" ? texts.taskStopped : "";
}

/**
 * Stop a job, as the button on Stash's Tasks page does.
 * @param {Shell} shell
 * @param {string} id
 */
export async function stopTask(shell, id) {
  const { gql } = shell.api.libraries.Apollo;
  const mutation = gql`
    mutation HavenStop($id: ID!) {
      stopJob(job_id: $id)
    }
  `;
  await shell.api.utils.StashService.getClient().mutate({ mutation, variables: { id } });
  wake();
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
