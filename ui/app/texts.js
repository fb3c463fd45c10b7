/** Every text of the modules that are loaded on demand. */

const many = (/** @type {number} */ count, /** @type {string} */ one) =>
  `${count.toLocaleString()} ${one}${count === 1 ? "" : "s"}`;

/** @type {Record<string, string>} */
export const stateText = {
  marker: "marker in Stash",
  below: "below the threshold, no marker",
  wrong: "called wrong, stays off",
  adjusted: "adjusted by you",
  kept: "kept by you",
  gone: "removed in Stash, stays off",
};

const keep = "The marker is yours from now on: no run changes or removes it (y)";
const add = "Adds a marker, which is yours: no run changes or removes it (y)";

/**
 * Return the label of a decision about a span in some state, and the sentence behind it.
 * @param {"keep" | "wrong" | "adjust" | "bring_back"} kind
 * @param {string} state
 * @returns {[label: string, help: string]}
 */
export function decisionText(kind, state) {
  switch (kind) {
    case "keep":
      return state === "marker" ? ["Keep", keep] : [state === "gone" ? "Bring back" : "Add marker", add];
    case "wrong":
      return ["Wrong", "Removes the marker, and the tag when nothing else supports it. No run adds it again (n)"];
    case "adjust":
      return ["Adjust", "Move an end of the moment"];
    case "bring_back":
      return ["Bring back", "Adds the marker again, as it was"];
  }
}

/** @type {Record<string, string>} */
const codes = {
  busy: "A task of the plugin is writing. Nothing was changed; try again in a moment.",
  not_found: "Stash does not have this item any more.",
  version: "The plugin was updated. Reload this page.",
  updating: "The plugin is being updated. Reload this page in a minute.",
};

export const texts = {
  failure: (/** @type {string} */ code, /** @type {string} */ message) => codes[code] ?? message,
  changed: "The scene was changed meanwhile. What is shown is new; decide again.",
  noReply: "The plugin did not answer. Check that its Python works: run the task Check Set-up.",
  found: (/** @type {number} */ tags, /** @type {number} */ moments) =>
    `${many(tags, "tag")}, ${many(moments, "moment")}`,
  moments: (/** @type {number} */ count) => many(count, "moment"),
  belowOnly: (/** @type {number} */ count) => `${count.toLocaleString()} below`,
  loading: "Loading …",
  saving: "Saving …",
  saved: "Saved",
  never: "The plugin has not tagged this yet.",
  nothing: "Nothing was found. The threshold may be too high, or the tags are not in this video.",
  nothingAbove: (/** @type {number} */ count) =>
    `No tag reached its threshold. ${many(count, "moment")} below it can be seen in the timeline.`,
  tagNow: "Tag this scene now",
  tagAgain: "Tag again",
  tagHelp: "Adds tags and markers to this scene. The task Undo Last Run takes them back.",
  undo: "Undo",
  undoHelp: "Takes the last decision about this scene back (u)",
  reload: "Reload",
  previous: "Previous moment (k)",
  next: "Next moment (j)",
  play: "Play",
  playHelp: "Plays from the start of this moment (space)",
  done: "Done",
  startHere: "Start at player",
  startHereHelp: "The moment starts where the player is ([)",
  endHere: "End at player",
  endHereHelp: "The moment ends where the player is (])",
  start: "start",
  end: "end",
  nudge: (/** @type {string} */ end, /** @type {number} */ by) =>
    `${end} ${by < 0 ? "−" : "+"}${Math.abs(by)} s`,
  handle: (/** @type {string} */ end) => `Move the ${end}; left and right arrow move it by a second`,
  select: "Select a moment in the timeline, or press j.",
  frames: "Frames that were asked",
  yes: "yes",
  no: "no",
  notRead: "cannot be read",
  also: "Also asked in these frames: ",
  timeline: "Timeline of the found tags. j and k select a moment.",
  legend: { marker: "marker in Stash", below: "below the threshold", wrong: "called wrong or removed", gap: "not read" },
  threshold: (/** @type {string} */ percent) => `threshold ${percent}`,
  byPerson: "made by a person",
  present: "found",
  absent: "not found",
  task: {
    scenes: (/** @type {number} */ count) => `Tag ${many(count, "scene")}`,
    images: (/** @type {number} */ count) => `Tag ${many(count, "image")}`,
    galleries: (/** @type {number} */ count) =>
      count === 1 ? "Tag the images of 1 gallery" : `Tag the images of ${count} galleries`,
  },
  taskHelp: {
    scenes: "Adds tags and markers to these scenes, whether they are queued or not.",
    images: "Adds tags to these images, whether they are queued or not.",
    galleries: "Adds tags to the images of these galleries, whether they are queued or not.",
  },
  taskSafe: "What you made or changed stays. The task Undo Last Run takes everything back.",
  nothingSelected: "Nothing is selected. Select items first.",
  tooMany: (/** @type {number} */ most) => `Select at most ${most.toLocaleString()} items.`,
  cancel: "Cancel",
  startNow: "Start",
  started: "The task is queued. The ring in the navigation bar shows it.",
  close: "Close",
  stop: "Stop",
  statusTab: "Status",
  noPage: "There is no such page.",
  back: "Back",
  running: "A task of the plugin is running.",
  queued: (/** @type {number} */ scenes, /** @type {number} */ images) =>
    `Queued: ${many(scenes, "scene")}, ${many(images, "image")}.`,
  noQueue: "Stash did not say what is queued.",
  lastRun: (/** @type {string} */ task, /** @type {string} */ ago) => `Last run: ${task}, ${ago}.`,
  noRun: "No task of the plugin has run yet.",
  taskFailed: (/** @type {string} */ error) => `The task failed: ${error}. Its log says more.`,
  taskStopped: "The task was stopped.",
};
