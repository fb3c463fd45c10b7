/** The evidence of one scene in this page, and the decisions on their way to the plugin. */

import { add, answered, decision, differences, review, send, takeBack, visible } from "../model/decisions.js";
import { CallError, call, refresh } from "./stash.js";
import { texts } from "./texts.js";

/** @typedef {import("../plugin-api").Shell} Shell */
/** @typedef {import("../contract").SceneEvidence} SceneEvidence */
/** @typedef {import("../contract").SpanEvidence} SpanEvidence */
/** @typedef {import("../contract").Decision} Decision */
/** @typedef {import("../model/decisions.js").Review} Review */

const TOGETHER_MS = 600;
const MOST_KEPT = 20;

/** @type {Map<string, SceneReview>} */
const reviews = new Map();

/**
 * Return the review of a scene; the last ones are kept, so that no decision is lost when the tab
 * closes.
 * @param {Shell} shell
 * @param {string} scene
 */
export function reviewOf(shell, scene) {
  const known = reviews.get(scene) ?? new SceneReview(shell, scene);
  reviews.delete(scene);
  reviews.set(scene, known);
  for (const [id, one] of reviews) if (reviews.size > MOST_KEPT && !one.isSaving) reviews.delete(id);
  return known;
}

export class SceneReview {
  /**
   * @param {Shell} shell
   * @param {string} scene
   */
  constructor(shell, scene) {
    this.shell = shell;
    this.scene = scene;
    /** @type {Review | null} */
    this.state = null;
    this.fault = "";
    this.hasSaved = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {Set<() => void>} */
    this.listeners = new Set();
    this.isUndoing = false;
    /** @type {Promise<boolean>} */
    this.sending = Promise.resolve(true);
  }

  /** @returns {SceneEvidence | null} */
  get evidence() {
    return this.state && visible(this.state);
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
      const saved = await call(this.shell, "scene", { id: this.scene });
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

  /** Send what waits. Decisions that come meanwhile are sent when the answer is there. */
  async flush() {
    clearTimeout(this.timer);
    if (!this.state || this.state.sent.length || !this.state.waiting.length) return;
    this.state = send(this.state);
    const decisions = this.state.sent;
    this.changed();
    this.sending = this.guard(async () => this.arrived(await this.write(decisions)));
    const isSent = await this.sending;
    if (!isSent && this.state) this.state = answered(this.state, this.state.saved);
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
  }

  /**
   * Return the evidence after decisions, or after the last one was undone (null). When the scene
   * has changed, it is read anew, and decisions are sent once more if their tags are as they were.
   * @param {readonly Decision[] | null} decisions
   * @returns {Promise<SceneEvidence>}
   */
  async write(decisions) {
    const { saved } = /** @type {Review} */ (this.state);
    const send = (/** @type {number} */ revision) =>
      decisions
        ? call(this.shell, "decide", { scene: this.scene, revision, decisions: [...decisions] })
        : call(this.shell, "undo_decision", { scene: this.scene, revision });
    try {
      return await send(saved.revision);
    } catch (error) {
      if (!(error instanceof CallError) || error.code !== "changed") throw error;
      const fresh = await call(this.shell, "scene", { id: this.scene });
      this.state = { .../** @type {Review} */ (this.state), saved: fresh };
      const changed = new Set(differences(saved, fresh));
      if (!decisions) throw error;
      if (decisions.some((one) => changed.has(one.tag))) throw new Error(texts.changed);
      return send(fresh.revision);
    }
  }

  /** @param {SceneEvidence} saved */
  arrived(saved) {
    if (!this.state) return;
    this.state = answered(this.state, saved);
    this.hasSaved = true;
    refresh(this.shell, "FindScene");
  }

  /**
   * Run some work, keep its fault for the page, and return true when it went well.
   * @param {() => Promise<void>} work
   */
  async guard(work) {
    try {
      await work();
      this.fault = "";
      return true;
    } catch (error) {
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
