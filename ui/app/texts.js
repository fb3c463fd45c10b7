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

/**
 * The states of a tag of an image or a gallery.
 * @type {Record<string, string>}
 */
export const tagStateText = {
  marker: "added by the plugin",
  below: "not sure enough, not added",
  wrong: "called wrong, stays off",
  kept: "kept by you",
  gone: "removed in Stash, stays off",
};

/**
 * Return the label of a decision about a tag of an image or a gallery, and the sentence behind it.
 * @param {"keep" | "wrong" | "adjust" | "bring_back"} kind
 * @param {string} state
 * @returns {[label: string, help: string]}
 */
export function tagDecisionText(kind, state) {
  if (kind === "wrong") return ["Wrong", "Takes the tag off. No run adds it again"];
  if (kind === "bring_back") {
    return ["Bring back", state === "gone" ? "Adds the tag again. No run takes it off" : "Takes your decision back, and adds the tag again if that had removed it"];
  }
  return state === "marker" ? ["Keep", "No run takes the tag off"] : ["Add tag", "Adds the tag. No run takes it off"];
}

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
      return state === "marker" ? ["Keep", keep] : ["Add marker", add];
    case "wrong":
      return ["Wrong", "Removes the marker, and the tag when nothing else supports it. No run adds it again (n)"];
    case "adjust":
      return ["Adjust", "Move an end of the moment"];
    case "bring_back":
      return ["Bring back", state === "gone" ? add : "Adds the marker again, as it was"];
  }
}

const queuedOrNot = "whether they are queued or not.";
/**
 * The tasks by their mode: a name for buttons and jobs, and what the task writes.
 * @type {Record<string, {name: string, help: string}>}
 */
const modes = {
  tag_videos: { name: "Tag", help: `Adds tags and markers to these scenes, ${queuedOrNot}` },
  tag_images: { name: "Tag", help: `Adds tags to these images, ${queuedOrNot}` },
  tag_new: { name: "Tag what is new", help: `Adds tags to scenes and images, and markers to scenes, ${queuedOrNot}` },
  update_videos: { name: "Update", help: "Brings tags and markers of these scenes to the present settings." },
  update_images: { name: "Update", help: "Brings tags of these images to the present settings." },
  bring_back: { name: "Bring back", help: "Updates these items, and adds again what you had removed." },
  preview: { name: "Preview", help: "Says in a report what would be added. Writes nothing to Stash." },
};

/** @type {Record<string, string>} */
const codes = {
  busy: "A task of the plugin is writing. Nothing was changed; try again in a moment.",
  not_found: "Stash does not have this item any more.",
  version: "The plugin was updated. Reload this page.",
  updating: "The plugin is being updated. Reload this page in a minute.",
};

export const texts = {
  failure: (/** @type {string} */ code, /** @type {string} */ message) => codes[code] ?? message,
  changed: "It was changed meanwhile. What is shown is new; decide again.",
  noReply: "The plugin did not answer. Check that its Python works: run the task Check Set-up.",
  notRun: (/** @type {string} */ error) =>
    `The plugin could not run: ${error}. Stash's log says why; often it is the “Python Executable Path” on Stash's settings page “System”.`,
  found: (/** @type {number} */ tags, /** @type {number} */ moments) =>
    `${many(tags, "tag")}, ${many(moments, "moment")}`,
  moments: (/** @type {number} */ count) => many(count, "moment"),
  belowOnly: (/** @type {number} */ count) => `${count.toLocaleString()} below`,
  loading: "Loading …",
  effort: (/** @type {number} */ effort) => `effort ${effort}`,
  row: (/** @type {string} */ tag, /** @type {number} */ markers, /** @type {number} */ below) =>
    `${tag}: ${many(markers, "marker")}, ${below.toLocaleString()} below the threshold`,
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
  also: "Also asked in these frames: ",
  timeline: "Timeline of the found tags. j and k select a moment.",
  legend: { marker: "marker in Stash", below: "below the threshold", wrong: "called wrong or removed", gap: "not read" },
  threshold: (/** @type {string} */ percent) => `threshold ${percent}`,
  byPerson: "made by a person",
  scope: {
    chosen: {
      scenes: (/** @type {number} */ count) => many(count, "scene"),
      images: (/** @type {number} */ count) => many(count, "image"),
      galleries: (/** @type {number} */ count) =>
        count === 1 ? "the images of 1 gallery" : `the images of ${count.toLocaleString()} galleries`,
    },
    shown: {
      scenes: "every scene that this filter shows",
      images: "every image that this filter shows",
      galleries: "the images of every gallery that this filter shows",
    },
    isNew: "everything that is not tagged yet",
  },
  modes,
  taskSafe: "The task Undo Last Run takes everything back.",
  nothingSelected: "Nothing is selected. Select items first.",
  tooMany: (/** @type {number} */ most) => `A task takes at most ${most.toLocaleString()} selected items. Choose a filter that shows them, or select fewer.`,
  cancel: "Cancel",
  startNow: "Start now",
  started: "The task is queued. The ring in the navigation bar shows it.",
  close: "Close",
  stop: "Stop",
  noPage: "There is no such page.",
  back: "Back",
  taskFailed: (/** @type {string} */ error) => `The task failed: ${error}. Its log says more.`,
  taskStopped: "The task was stopped.",
};

/** Texts of the parts that scenes, images and galleries share. */
export const parts = {
  saving: "Saving …",
  saved: "Saved",
  waitsForTask: "Waits for a task that is writing …",
};

/** Texts of "Tag again". */
export const again = {
  tagNow: "Tag this scene now",
  tagAgain: "Tag again",
  help: "Adds tags and markers to this scene. The task Undo Last Run takes them back.",
  choose: "How hard to look",
  asBefore: "As set: only what was never asked",
  harder: (/** @type {number} */ effort, /** @type {number} */ questions, /** @type {number} */ missed) =>
    `Harder (${effort}): about ${many(questions, "question")} more, ${missed} % of short events missed`,
  started: texts.started,
};

/** Texts about a scene in which nothing became a marker. */
export const emptiness = {
  never: "The plugin has not tagged this yet.",
  nothing: "Nothing was found. It may be one of these:",
  nothingAbove: "No tag reached its threshold. It may be one of these:",
  threshold: (/** @type {string} */ tag, /** @type {string} */ when, /** @type {string} */ confidence, /** @type {string} */ threshold) =>
    `The surest moment is ${tag} at ${when}${confidence && ` with ${confidence}`}; its markers need ${threshold}. `,
  show: "Show it",
  changeThreshold: "Change thresholds",
  unread: (/** @type {number} */ count, /** @type {number} */ all) => `${count.toLocaleString()} of ${many(all, "frame")} could not be read or judged. `,
  askAgain: "Ask about them again",
  silent: (/** @type {number} */ frames) => `The model said no to every tag in ${many(frames, "frame")}. One that sees no pictures does that, too. `,
  checkServers: "Check the servers",
  effort: (/** @type {number} */ missed) => `About ${missed} % of short events are missed at this effort. `,
  lookHarder: "Look harder",
  tags: (/** @type {readonly string[]} */ tags) =>
    `These tags were looked for: ${tags.slice(0, 8).join(", ")}${tags.length > 8 ? ` and ${tags.length - 8} more` : ""}. `,
  changeTags: "Change the tags",
};

/** Texts of the block of an image or a gallery. */
export const item = {
  loading: texts.loading,
  never: emptiness.never,
  started: texts.started,
  undo: texts.undo,
  undoHelp: "Takes the last decision about these tags back",
  tagNow: { image: `Tag ${texts.scope.chosen.images(1)}`, gallery: `Tag ${texts.scope.chosen.galleries(1)}` },
  tagHelp: { image: modes.tag_images.help, gallery: modes.tag_images.help },
  ofImages: "Tags that enough of its images have",
  noTags: "The plugin gave this gallery no tags.",
  absent: (/** @type {number} */ count) => `${many(count, "tag")} not found`,
  no: "not found",
  notSure: (/** @type {string} */ threshold) => `found, not sure enough (threshold ${threshold})`,
  byPerson: "put there by a person",
};

const percent = (/** @type {number} */ share) => `${Math.round(share * 100)} %`;

/**
 * Return a length of time as people say it.
 * @param {number} seconds
 */
function lengthText(seconds) {
  if (seconds < 55) return many(Math.max(1, Math.round(seconds)), "second");
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return many(minutes, "minute");
  return `${Math.round(minutes / 6) / 10} hours`;
}

/** Texts of the plugin's page. */
export const page = {
  loading: "Loading …",
  retry: "Try again",
  save: "Save",
  cancel: "Cancel",
  more: (/** @type {number} */ count) => `and ${count.toLocaleString()} more`,
  taskRuns: "The task is queued. The ring in the navigation bar shows it.",
  from: (/** @type {string} */ source) => {
    if (source.startsWith("haven_vlm_config.py") || !source) return "This is the default.";
    if (source.startsWith("settings.json")) return "Set on this page.";
    return `Set in: ${source}.`;
  },
  hides: (/** @type {string} */ name, /** @type {string} */ source, /** @type {readonly string[]} */ hides) =>
    `${name}: ${source} is used, and hides ${hides.join(" and ")}.`,
  undoSettings: {
    title: "Last change",
    help: "Brings the settings of this page back to before their last change. Once more brings the change back.",
    now: "Undo the last change of settings",
  },
  block: {
    works: (/** @type {string} */ version) => `Version ${version}. Its settings are right.`,
    faulty: (/** @type {string} */ version, /** @type {number} */ count) => `Version ${version}. ${many(count, "thing")} to correct in its settings:`,
    noServer: (/** @type {string} */ address) => `No server is set, so the default is asked: ${address}.`,
    exampleTags: "No tags are set, so those of the example are looked for.",
    running: "A task is under way.",
    noRun: "No run yet.",
    lastRun: (/** @type {string} */ task, /** @type {string} */ ago, /** @type {string} */ end) => `Last run: ${task}, ${ago}. ${end}`,
  },
  settingsChanged: "The settings were changed in another place meanwhile. Those are shown now; change them again.",
  severity: { ok: "✓", note: "i", wrong: "✗" },
  tabs: { setup: "Set-up", queue: "Queue", runs: "Runs", tags: "Tags" },
  steps: {
    title: "Three steps to the first tags",
    server: "Name the server that runs your model.",
    tags: "Say what to look for.",
    scene: (/** @type {string} */ name) => `See what is found in your newest scene: ${name}.`,
    noScene: "Stash has no scene yet. Add videos and let Stash scan them.",
    done: "done",
    address: "Address of the server",
    tagList: "Tags, one to a line or with commas between them",
    tagExample: "Foul, Goal, Free throw",
    tagHelp: "Short names of what a single picture can show. A line with a colon is one tag with its meaning. Your tags in Stash can be chosen below.",
    chosen: "Chosen below. Add names here if you want more.",
    help: (/** @type {boolean} */ installs, /** @type {boolean} */ hasScene) =>
      [
        installs && "The button first installs the Python packages that the plugin needs: about 250 MB, in a folder of its own.",
        `${installs ? "Then it" : "The button"} saves server and tags, and asks the server about a few test pictures.`,
        hasScene && "At last it adds tags and markers to that one scene. The task Undo Last Run takes them back.",
      ]
        .filter(Boolean)
        .join(" "),
    start: "Save, check and tag this scene",
    stages: {
      packages: "Installing Python packages. This takes a few minutes; keep this page open.",
      saving: "Saving …",
      checking: "Checking the server with a few test pictures. This takes up to half a minute.",
      tagging: "The scene is being tagged. The ring in the navigation bar shows how far it is.",
    },
    toScene: "See what was found",
    toScenes: "Choose another scene",
  },
  lights: {
    unknown: "not checked in this session",
    checking: "checking",
    sound: "works",
    slow: "works, slowly",
    blind: "does not see pictures",
    down: "cannot be reached",
    wrong: "does not work",
  },
  keys: { set: "key set", environment: "key from the environment", none: "no key" },
  servers: {
    title: "Servers",
    help: "Vision-language models behind any server with an OpenAI-compatible API, such as LM Studio, Ollama, llama.cpp or vLLM.",
    none: "There is no server yet. Add the one that runs your model.",
    add: "Add a server",
    check: "Check",
    checking: "Checking with a few test pictures. This takes up to half a minute.",
    edit: "Edit",
    remove: "Remove",
    removeNow: (/** @type {string} */ name) => `Remove ${name}`,
    findings: (/** @type {number} */ count) => many(count, "finding"),
    fallback: "fallback",
    model: (/** @type {string} */ name) => `model ${name}`,
    anyModel: "the model that is loaded",
    atOnce: (/** @type {string} */ most) => `requests at once: ${most}`,
    address: "Address",
    addressHelp: "For example http://192.168.1.20:1234/v1 for LM Studio, or http://localhost:11434/v1 for Ollama.",
    name: "Name",
    key: "API key",
    keyChoices: { keep: "keep the stored key", none: "no key", set: "set a new key" },
    noKey: "Enter the key, or choose “no key”.",
    moved: "A stored key stays with its address and is never sent to another one.",
    modelLabel: "Model",
    modelHelp: "Empty: the model that the server has loaded.",
    saveFirst: "Empty: the model that the server has loaded. When the server is saved, its models are listed here.",
    askingModels: "Asking the server for its models …",
    vision: (/** @type {boolean | null} */ sees) => (sees === null ? "" : sees ? " (sees pictures)" : " (sees no pictures)"),
    most: "Requests at once",
    mostHelp: "A number, auto, or empty for as many as the server says.",
    badAtOnce: "Requests at once: write a number from 1, auto, or nothing.",
    fallbackHelp: "Use it only when the other servers do not work",
    save: "Save and check",
  },
  tags: {
    title: "What to look for",
    help: "Choose tags from your own tree, or everything below one of them: then new tags there are looked for as well. What Stash says of a tag is what the model is told, and its aliases are answers that count.",
    list: "Other names, one to a line. The text after a colon says to the model what the name means",
    save: "Save the tag list",
    revert: "Discard changes",
    tree: "Your tags in Stash",
    filter: "Filter by name or alias",
    noMatch: "No tag has this in its name or in an alias.",
    noTags: "Stash has no tags yet. Write names below; Stash gets them as tags when they are found.",
    unfold: (/** @type {string} */ name) => `Tags below ${name}`,
    below: "all below",
    belowOn: "✓ all below",
    belowOf: (/** @type {string} */ name) => `Everything below ${name}`,
    belowHelp: "Look for everything below this tag, also for what is added there later. The tag itself is chosen by its box.",
    leftOut: "left out",
    ignored: "left out: Ignore auto tag",
    inList: "in the list of names",
    respects: "Leave out tags with “Ignore auto tag” in Stash",
    wanted: (/** @type {number} */ count) => `Looked for: ${many(count, "tag")}`,
    many: "So many tags make every question long, and answers less sure. Choose those that a picture can show.",
    threshold: (/** @type {string} */ name) => `Threshold of ${name} in percent`,
    thresholdHelp: "How sure a tag must be. Empty: the threshold for all tags. No question is asked again.",
    tellHelp: "What the model is told of it",
    told: (/** @type {string} */ name) => `What the model is told of ${name}`,
    toldHelp: "From the tag's description in Stash, unless you write something else here. Empty: the name alone. After a change, also in Stash, the questions about this tag are asked again.",
    aliases: (/** @type {readonly string[]} */ names) => `Also counts as an answer: ${names.join(", ")}`,
    stashText: "Take Stash's text",
    inStash: "Edit in Stash",
  },
  effort: {
    title: "How hard to look",
    quick: "quick",
    thorough: "thorough",
    minutes: (/** @type {number} */ minutes) => `About ${lengthText(minutes * 60)} for each hour of video on your servers`,
    relative: (/** @type {number} */ factor) =>
      factor === 1 ? "The usual time" : `About ${percent(factor)} of the usual time`,
    missed: (/** @type {number} */ share) => `and about ${share} % of short events missed, by the benchmark.`,
    check: "Check a server above to see minutes here.",
  },
  advanced: {
    title: "Advanced",
    fold: (/** @type {number} */ count) => `${count} more settings and where each comes from`,
    byHand: "It can only be changed there.",
    reset: "Reset",
  },
  earlier: {
    title: "Take over settings of an earlier plugin",
    help: "Choose its haven_vlm_config.py. The file is read and not run, and nothing is changed before you say so.",
    file: "File",
    take: (/** @type {number} */ count) => (count === 1 ? "Take over 1 setting" : `Take over ${count} settings`),
    done: "These settings are taken over.",
  },
  queue: {
    waits: "What waits",
    unknown: "Stash did not say what is queued.",
    counts: (/** @type {number} */ scenes, /** @type {number} */ images) => `${many(scenes, "scene")} and ${many(images, "image")} are queued.`,
    empty: "Nothing is queued. Give scenes, images or galleries the tag VLM_TagMe, or start from a scene's tab “VLM”.",
    start: "Start",
    tasks: {
      tag_videos: { text: "Tag Videos", help: "Adds tags and markers to the queued scenes. Undo Last Run takes them back." },
      tag_images: { text: "Tag Images", help: "Adds tags to the queued images. Undo Last Run takes them back." },
      preview: { text: "Preview", help: "Says in a report what would be added. Writes nothing to Stash." },
      check_setup: { text: "Check Set-up", help: "Checks servers, files and the queue. Writes nothing to Stash." },
    },
    running: (/** @type {string} */ task, /** @type {number | null} */ done) =>
      done === null ? `${task} waits in Stash's queue.` : `${task}: ${done} %`,
    stop: "Stop",
    elsewhere: "A task of the plugin is running. Stash's Tasks page shows it.",
    tasksNow: "Running and waiting",
    order: "Begin with",
    orders: { oldest: "what was added to Stash first", newest: "what was added to Stash last", shortest: "the shortest scenes" },
    everything: {
      title: "Everything that is not tagged yet",
      help: "Starts at once for all scenes and images without the tag VLM_Tagged. They need no VLM_TagMe.",
      except: "Leave out what has a tag",
      remove: (/** @type {string} */ tag) => `Do not leave out ${tag}`,
      noTag: "Stash has no such tag.",
    },
    again: "Try what failed again …",
    last: "Last run",
    nothingFailed: "Nothing failed.",
    cause: (/** @type {number} */ count, /** @type {string} */ error) => `${many(count, "item")} failed: ${error}`,
  },
  runs: {
    title: "Runs, the newest first",
    none: "No run yet. Start one in the tab “Queue” or from a scene.",
    older: "Older runs",
    undo: "Undo the last run …",
    undoHelp: "This takes back what the last run added, and puts back what it removed. What you changed since stays.",
    undoNow: "Undo the last run",
    undoTask: "Undo Last Run",
    undone: "The last run is undone.",
    undoRun: (/** @type {number} */ left) => `Undo this run on ${many(left, "item")} …`,
    undoRunHelp: (/** @type {number} */ left) =>
      `This brings ${many(left, "item")} back to before this run. What later runs did to them is undone as well. What you changed since stays.`,
    undoRunNow: "Undo this run",
    undoneRun: "The run is undone.",
    undoItem: "Undo …",
    undoItemNow: (/** @type {string} */ kind) => `Undo this run on this ${kind}`,
    undoneItem: "Undone.",
    isUndone: "This is undone.",
    undoesNothing: "Nothing of this run is left here. Undoing it changes nothing in Stash.",
    undoesAlso: (/** @type {readonly string[]} */ runs) => `What later runs did here is undone as well: ${runs.join("; ")}.`,
    wouldBe: { added: "Puts back", removed: "Removes" },
    previews: "Make previews for its markers …",
    previewsHelp: "Stash makes previews for the markers of this run, and for no others. It writes files into Stash's folder of generated files, and changes no marker.",
    previewsNow: "Make previews",
    previewsTask: "Make Marker Previews",
    previewsDone: "The previews are in Stash's queue of jobs.",
    fullReport: "Open the full report",
    outcome: (/** @type {string} */ outcome, /** @type {number} */ count) => `${count.toLocaleString()} ${outcome}`,
    spent: (/** @type {number} */ lasted, /** @type {number} */ calls, /** @type {number} */ seconds) =>
      [lengthText(lasted), ...(calls ? [many(calls, "call")] : []), ...(seconds >= 1 ? [`${Math.round(seconds).toLocaleString()} model seconds`] : [])].join(", "),
    coverage: (
      /** @type {number} */ run,
      /** @type {number} */ lasted,
      /** @type {import("../model/report.js").Coverage} */ { asked, answered, unreadable, calls, seconds },
    ) =>
      [
        run ? `Run ${run} took ${lengthText(lasted)}` : `It took ${lengthText(lasted)}`,
        ...(asked ? [`${answered.toLocaleString()} of ${many(asked, "frame")} judged`] : []),
        ...(unreadable ? [`${unreadable.toLocaleString()} unreadable`] : []),
        ...(asked ? [many(calls, "call")] : []),
        ...(seconds >= 1 ? [`${Math.round(seconds).toLocaleString()} model seconds`] : []),
      ].join(", ") + ".",
    endpoint: (/** @type {import("../model/report.js").Endpoint} */ one) =>
      [
        `${one.name}: ${many(one.calls, "call")}, ${percent(one.share)} of all`,
        ...(one.seconds ? [`${one.seconds.toFixed(1)} s for a typical answer`] : []),
        ...(one.busy_s >= 1 ? [`${Math.round(one.busy_s).toLocaleString()} model seconds`] : []),
        ...(one.prompt_tokens ? [`${one.prompt_tokens.toLocaleString()} tokens in, ${one.answer_tokens.toLocaleString()} out`] : []),
      ].join("; "),
    failed: (/** @type {string[]} */ faults) => `failed: ${faults.join(", ")}`,
    item: (/** @type {{outcome: string, calls: number, seconds: number}} */ { outcome, calls, seconds }) =>
      [outcome, ...(calls ? [many(calls, "call")] : []), ...(seconds >= 1 ? [`${Math.round(seconds)} model seconds`] : [])].join(", "),
    changed: (/** @type {string} */ outcome) =>
      outcome === "planned" ? { added: "Would be added", removed: "Would be removed" } : { added: "Added", removed: "Removed" },
    keptBack: "Left as it is",
    staysOff: "Found, and stays off because you took it off",
    leftAlone: "Left alone, because it is not of this run's tag list",
    moreItems: (/** @type {number} */ left) => `Show more of ${many(left, "item")}`,
    noItems: "This run reached no scene or image.",
  },
  results: {
    none: "No tag was found yet.",
    help: "The most doubtful first. “Right” is what you kept or adjusted in the scenes' tab “VLM”; the range is where the true share lies in 19 of 20 cases.",
    next: (/** @type {string} */ name, /** @type {number} */ found, /** @type {number} */ low, /** @type {number} */ high) =>
      `Where to look next: ${name}. ${many(found, "find")} ${found === 1 ? "is" : "are"} not judged yet, and of all that it finds between ${percent(low)} and ${percent(high)} may be right. A few judgements tell most here.`,
    least: (/** @type {string} */ name) => `The ten least sure of ${name}`,
    leastOfAll: "The ten least sure of all",
    noneUnsure: "There are none: everything is judged, or it was found before confidences were kept. Update scenes to see them here; nothing is asked twice.",
    save: "Save the thresholds",
    saveHelp: "Counts from the next run on. To apply it to what is tagged, update those scenes: nothing is asked twice.",
    columns: ["Tag", "Found", "Right so far", "Threshold"],
    notJudged: "not judged yet",
    precision: (/** @type {number} */ right, /** @type {number} */ judged, /** @type {number} */ low, /** @type {number} */ high) =>
      `${right} of ${judged} judged right: between ${percent(low)} and ${percent(high)}`,
  },
};
