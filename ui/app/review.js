/** The evidence of one item in this page, and the decisions on their way to the plugin. */

import { add, answered, decision, differences, giveBack, review, send, takeBack, visible } from "../model/decisions.js";
import { CallError, call, refresh } from "./stash.js";
import { texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").ItemEvidence} ItemEvidence */
/** @typedef {import("../contract").SpanEvidence} SpanEvidence */
/** @typedef {import("../contract").Decision} Decision */
/** @typedef {import("../model/decisions.js").Review} Review */

/** @typedef {import("../contract").ItemEvidence["kind"]} Kind */

const { React } = /** @type {import("../plugin-api").PluginApi} */ (window.PluginApi);
const TOGETHER_MS = 600;
const MOST_KEPT = 20;
const BUSY_MS = 4000;
const MOST_BUSY = 15;
const QUERIES = /** @type {const} */ ({ scene: "FindScene", image: "FindImage", gallery: "FindGallery" });

/** @type {Map<string, ItemReview>} */
const reviews = new Map();

/**
 * Return the review of an item; the last ones are kept, so that no decision is lost when the tab
 * closes.
 * @param {Shell} shell
 * @param {Kind} kind
 * @param {string} id
 */
export function reviewOf(shell, kind, id) {
  const key = `${kind} ${id}`;
  const known = reviews.get(key) ?? new ItemReview(shell, kind, id);
  reviews.delete(key);
  reviews.set(key, known);
  for (const [other, one] of reviews) if (reviews.size > MOST_KEPT && !one.isSaving) reviews.delete(other);
  return known;
}

/**
 * Return the review of an item; the component is drawn again when it changes. What waits is sent
 * when the component or the page goes. What others changed is read when the page is seen again, and
 * when a task ends, wherever it was started.
 * @param {Shell} shell
 * @param {Kind} kind
 * @param {string} id
 */
export function useReview(shell, kind, id) {
  const [, setCount] = React.useState(0);
  const review = React.useMemo(() => reviewOf(shell, kind, id), [shell, kind, id]);
  React.useEffect(() => {
    const flush = () => void review.flush();
    const leave = () => void review.flush(true);
    const seen = () => document.visibilityState === "visible" && void review.load();
    const stop = review.listen(() => setCount((count) => count + 1));
    let task = shell.tasks.get()[0]?.id;
    const stopTask = shell.tasks.listen(() => {
      const before = task;
      task = shell.tasks.get()[0]?.id;
      if (before && before !== task) void review.load().then(() => refresh(shell, QUERIES[kind]));
    });
    window.addEventListener("pagehide", leave);
    document.addEventListener("visibilitychange", seen);
    void review.load();
    return () => {
      window.removeEventListener("pagehide", leave);
      document.removeEventListener("visibilitychange", seen);
      stopTask();
      stop();
      flush();
    };
  }, [review]);
  return review;
}

export class ItemReview {
  /**
   * @param {Shell} shell
   * @param {Kind} kind
   * @param {string} id
   */
  constructor(shell, kind, id) {
    this.shell = shell;
    this.kind = kind;
    this.id = id;
    this.busy = 0;
    /** @type {Review | null} */
    this.state = null;
    this.fault = "";
    this.hasSaved = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {Set<() => void>} */
    this.listeners = new Set();
    this.isUndoing = false;
    this.wasBusy = false;
    /** @type {Promise<boolean>} */
    this.sending = Promise.resolve(true);
  }

  /** @returns {ItemEvidence | null} */
  get evidence() {
    return this.state && visible(this.state);
  }

  get item() {
    return { kind: this.kind, id: this.id };
  }

  get isSaving() {
    return this.isUndoing || !!this.state && this.state.sent.length + this.state.waiting.length > 0;
  }

  /** @param {() => void} listener */
  listen(listener) {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  /** Read the evidence, unless decisions are on their way. */
  async load() {
    if (this.isSaving) return;
    await this.guard(async () => {
      const saved = await call(this.shell, this.kind, { id: this.id });
      if (!this.isSaving) this.state = review(saved);
    });
  }

  /**
   * Decide about a span: the evidence changes at once, the plugin gets it within a second.
   * @param {Decision["kind"]} kind
   * @param {string} tag
   * @param {SpanEvidence} span
   * @param {{start_s: number, end_s: number} | null} [stretch]
   */
  decide(kind, tag, span, stretch = null) {
    if (!this.state) return;
    this.state = add(this.state, decision(kind, tag, span, stretch));
    this.fault = "";
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), TOGETHER_MS);
    this.changed();
  }

  /** True while decisions wait for a task that is writing. */
  get isBusy() {
    return this.busy > 0;
  }

  /**
   * Send what waits. Decisions that come meanwhile are sent when the answer is there, also the one
   * to an undo. While a task is writing they are sent again and again for a minute.
   * @param {boolean} [isLeaving] true when nothing can be sent later
   */
  async flush(isLeaving = false) {
    clearTimeout(this.timer);
    if (this.isUndoing && !isLeaving) return;
    if (!this.state || this.state.sent.length || !this.state.waiting.length) return;
    this.state = send(this.state);
    const decisions = this.state.sent;
    this.changed();
    this.sending = this.guard(async () => this.arrived(await this.write(decisions)));
    const isSent = await this.sending;
    if (isSent) this.busy = 0;
    else if (this.state && this.wasBusy && this.busy < MOST_BUSY) {
      this.busy += 1;
      this.fault = "";
      this.state = giveBack(this.state);
      this.timer = setTimeout(() => this.flush(), BUSY_MS);
      this.changed();
      return;
    } else if (this.state) {
      this.busy = 0;
      this.state = answered(this.state, this.state.saved);
    }
    this.changed();
    await this.flush();
  }

  /**
   * Take the last decision back: one that waits is dropped, else the plugin undoes its last, once
   * what is under way has been answered.
   */
  async undo() {
    if (!this.state || this.isUndoing) return;
    if (this.state.waiting.length) {
      this.state = takeBack(this.state);
      this.changed();
      return;
    }
    this.isUndoing = true;
    this.changed();
    await this.sending;
    await this.guard(async () => this.arrived(await this.write(null)));
    this.isUndoing = false;
    this.changed();
    await this.flush();
  }

  /**
   * Return the evidence after decisions, or after the last one was undone (null). When the item
   * has changed, it is read anew, and decisions are sent once more if their tags are as they were.
   * @param {readonly Decision[] | null} decisions
   * @returns {Promise<ItemEvidence>}
   */
  async write(decisions) {
    const { saved } = /** @type {Review} */ (this.state);
    const send = (/** @type {number} */ revision) =>
      decisions
        ? call(this.shell, "decide", { ...this.item, revision, decisions: [...decisions] })
        : call(this.shell, "undo_decision", { ...this.item, revision });
    try {
      return await send(saved.revision);
    } catch (error) {
      if (!(error instanceof CallError) || error.code !== "changed") throw error;
      const fresh = await call(this.shell, this.kind, { id: this.id });
      this.state = { .../** @type {Review} */ (this.state), saved: fresh };
      const changed = new Set(differences(saved, fresh));
      if (!decisions) throw error;
      if (decisions.some((one) => changed.has(one.tag))) throw new Error(texts.changed);
      return send(fresh.revision);
    }
  }

  /** @param {ItemEvidence} saved */
  arrived(saved) {
    if (!this.state) return;
    this.state = answered(this.state, saved);
    this.hasSaved = true;
    refresh(this.shell, QUERIES[this.kind]);
  }

  /**
   * Run some work, keep its fault for the page, and return true when it went well.
   * @param {() => Promise<void>} work
   */
  async guard(work) {
    this.wasBusy = false;
    try {
      await work();
      this.fault = "";
      return true;
    } catch (error) {
      this.wasBusy = error instanceof CallError && error.code === "busy";
      this.fault = error instanceof Error ? error.message : String(error);
      return false;
    } finally {
      this.changed();
    }
  }

  changed() {
    this.listeners.forEach((listener) => listener());
  }
}
