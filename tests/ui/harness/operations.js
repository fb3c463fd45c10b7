/** The operations of the plugin's page, over settings, runs and tags in memory. */

const value = (name, kind, now, source = "haven_vlm_config.py: " + name, is_editable = true) => ({
  name, kind, value: JSON.stringify(now), default: JSON.stringify(now), source, is_editable, text: `What ${name} does.`, hides: [],
});
const finding = (severity, what, text, figures = {}) => ({ severity, what, text, figures });
export const run = (stem, task, minutes, end_line, error = "") => {
  const ended = Date.now() / 1000 - minutes * 60;
  const isTagging = task === "Tag Videos";
  return {
    stem, run_id: isTagging ? 7 : 0, task, started: ended - 95, ended, end: error ? "broken off" : "finished", end_line, error, has_page: true,
    items: isTagging ? { done: 3, failed: 1 } : {}, calls: isTagging ? 1204 : 0, seconds: isTagging ? 371.2 : 0,
  };
};

/** Return what the plugin knows at the start. */
export const pageState = () => ({
  revision: 0,
  endpoints: [
    { name: "Desk", address: "http://desk:1234/v1", key: "set", model: "qwen3-vl-8b", weight: 1, is_fallback: false, max_concurrent: null },
    { name: "Attic", address: "http://attic:11434/v1", key: "none", model: "", weight: 1, is_fallback: true, max_concurrent: 2 },
  ],
  values: [
    value("TAG_LIST", "list", ["Foul", "Goal"]),
    value("TAG_DESCRIPTIONS", "object", {}),
    value("TAG_RULES", "object", { Foul: { MaxGap: "5s" } }),
    value("STASH_TAGS", "list", []),
    value("RESPECT_IGNORE_AUTO_TAG", "switch", false),
    value("VIDEO_SEARCH_EFFORT", "number", 1),
    value("VIDEO_THRESHOLD", "number", 0.5, "Stash's settings page: Threshold"),
    value("CREATE_MARKERS", "switch", true),
    value("VLM_TAGME_TAG_NAME", "text", "VLM_TagMe"),
    value("API_KEY", "text", "", "haven_vlm_config.local.yaml: API_KEY", false),
  ],
  moreItems: [],
  undone: new Set(),
  runs: [
    run("b", "Tag Videos", 3, "3 scenes: 2 done, 1 failed"),
    run("a", "Check Set-up", 300, "1 endpoint works"),
  ],
  tags: [
    ["1", "Game", [], "", []],
    ["2", "Foul", ["Personal foul"], "a player is fouled", ["1"]],
    ["3", "Goal", [], "", ["1", "4"]],
    ["4", "Highlight", [], "", []],
    ["5", "Timeout", [], "", ["1"]],
  ].map(([id, name, aliases, meaning, parents]) => ({ id, name, aliases, former_names: [], meaning, parents, ignore_auto_tag: name === "Timeout", is_chosen: false })),
  notes: [],
});

const SOUND = [
  finding("ok", "reachable", "LM Studio, and offers qwen3-vl-8b"),
  finding("ok", "test pictures", "sound: 10 of 10 right", { sight: "sound" }),
  finding("ok", "requests at once", "4; 4 at once bring 2.0 times the answers of one at a time", { slots: 4, gain: 2 }),
  finding("ok", "seconds", "0.5 for a question alone", { alone: 0.5 }),
];
const DOWN = [finding("wrong", "reachable", "Attic (http://attic:11434/v1) refused the connection. Start the server there, or correct its address.")];

/** Each as the plugin's own; `this` is the plugin. */
export const operations = {
  settings() {
    const { revision, values, endpoints } = this.page;
    return { revision, values, endpoints, faults: [], can_undo: revision > 0 };
  },
  undo_settings({ revision }) {
    if (revision !== this.page.revision) throw new Error("the test sent an old revision");
    this.page.revision += 1;
    return operations.settings.call(this);
  },
  earlier_settings({ write }) {
    if (write) this.page.values = this.page.values.map((one) => (one.name === "TAG_LIST" ? value("TAG_LIST", "list", ["Penalty"], "settings.json in the data folder: TAG_LIST") : one));
    return { taken: [{ name: "TAG_LIST", value: "Penalty" }], notes: ["VIDEO_THRESHOLD is left out: confidences are other figures here."], settings: operations.settings.call(this) };
  },
  change_settings({ revision, changes }) {
    if (revision !== this.page.revision) throw new Error("the test sent an old revision");
    for (const { name, value: text } of changes) {
      if (name === "ENDPOINTS") this.page.endpoints = JSON.parse(text).map((one) => stored(one, this.page.endpoints));
      else this.page.values = this.page.values.map((one) => (one.name === name ? { ...one, value: text ?? one.default, source: text === null ? "haven_vlm_config.py" : `settings.json in the data folder: ${name}` } : one));
    }
    this.page.revision += 1;
    return operations.settings.call(this);
  },
  models: () => ({ server: "LM Studio", models: [{ name: "qwen3-vl-8b", vision: true }, { name: "llama-3", vision: false }] }),
  check({ endpoint }) {
    const { name, address } = this.page.endpoints[endpoint];
    const findings = name === "Attic" ? DOWN : SOUND;
    return { sections: [{ kind: "endpoint", title: `${name} (${address})`, works: findings === SOUND, findings }] };
  },
  forecast(scope) {
    const images = scope.images?.length ?? (scope.image_filter ? 20000 : 1);
    const scenes = scope.images || scope.image_filter || scope.galleries ? 0 : scope.scenes?.length ?? (scope.except_tags?.length ? 0 : 3);
    const findings = [
      finding("ok", "queue", `${scenes} videos and ${images} images`, { scenes, images: scope.except_tags?.length ? 0 : images }),
      finding("ok", "time", "about 40 minutes (30 minutes to 1 hour), so done at 23:40", { seconds: 2400 }),
      finding("ok", "writes", "tags and markers for scenes"),
    ];
    return { sections: [{ kind: "forecast", title: "Forecast", works: true, findings }] };
  },
  status() {
    return { version: "1.0.0", revision: this.page.revision, queued: { scenes: 3, images: 1 }, last_run: this.page.runs[0] ?? null, is_running: false };
  },
  runs({ page }) {
    return { runs: this.page.runs.slice(page * 50, page * 50 + 50), more: this.page.runs.length > page * 50 + 50 };
  },
  run({ stem, page = 0 }) {
    const { report, causes, items } = REPORTS[stem];
    const all = [...items, ...this.page.moreItems].map((one) => (this.page.undone.has(one.id) ? { ...one, undo: "undone" } : one));
    const shown = all.slice(page * 100, page * 100 + 100);
    return { report, causes, items: shown, count: all.length, more: all.length > page * 100 + 100, left: all.filter(({ undo }) => undo === "possible").length };
  },
  run_page: () => ({ html: "<!DOCTYPE html><title>full</title><h1>Everything of this run</h1>" }),
  preview_undo: () => ({
    change: { ...NOTHING, tags_added: ["VLM_TagMe"], tags_removed: ["Foul", "Goal", "VLM_Tagged"], markers_removed: { Foul: 2, Goal: 1 }, kept_back: ["the marker 'Foul' at 0:02:04 stays: somebody has changed it since"] },
    also: ["Run 9 (Update Tagged Videos, 2026-01-12 10:00)"],
  }),
  tag_tree() {
    return { tags: this.page.tags, notes: this.page.notes };
  },
  tag_results: () => ({
    tags: [
      ["Goal", 40, 30, 0, 0, 0.5],
      ["Foul", 23, 6, 1, 2, 0.7],
      ["Turnover", 0, 0, 0, 0, 0.5],
      ["Break-away", 4, 0, 0, 0, 0.5],
    ].map(([name, found, kept, wrong, adjusted, threshold]) => ({ name, former_names: [], found, kept, wrong, adjusted, threshold, is_looked_for: name !== "Turnover" })),
  }),
  least_sure: ({ tag }) => ({
    markers: [["12", "Final", "Foul", 724.5, 0.51], ["13", "semi final.mp4", "Goal", 30, 0.62]]
      .map(([scene, title, of, start_s, confidence]) => ({ scene, title, tag: of, start_s, confidence }))
      .filter((one) => tag === null || one.tag === tag),
  }),
};

/** Return an endpoint as `settings` shows it after a change. */
function stored({ key, was, base_url, model_id, ...rest }, before) {
  const state = key === "keep" ? before[was].key : key === "none" ? "none" : "set";
  return { ...rest, address: base_url, key: state, model: model_id ?? "" };
}

const NOTHING = { tags_added: [], tags_removed: [], markers_added: {}, markers_removed: {}, kept_back: [], stays_off: [], left_alone: [] };
const change = { ...NOTHING, tags_added: ["Foul", "Goal"], markers_added: { Foul: 2, Goal: 1 } };
export const item = (kind, id, title, more = {}) => ({
  kind, id, title, outcome: "done", error: "", note: "", tags: [], change, calls: 0, seconds: 0, undo: "possible", ...more,
});
const UNREADABLE = "/m/semi final.mp4 cannot be read: no such file. Set Paths.";
const FAILED = item("scene", "13", "semi final.mp4", { outcome: "failed", error: UNREADABLE, change: NOTHING, undo: "none" });
const FOUND = [{ tag: "Foul", spans: [[124, 151, 0.97], [720, 760, 0.8]] }, { tag: "Goal", spans: [[281, 300, null]] }];
const REPORTS = {
  a: { report: { endpoints: [], checks: [{ kind: "endpoint", title: "Desk (http://desk:1234/v1)", works: true, findings: SOUND }] }, causes: [], items: [] },
  b: {
    report: {
      endpoints: [{ name: "Desk", calls: 1204, share: 1, failed: { TimedOutError: 2 }, seconds: 0.31, busy_s: 371.2, prompt_tokens: 930000, answer_tokens: 4800, cost: null }],
      coverage: { asked: 1300, answered: 1290, failed: 10, unreadable: 4, calls: 1204, seconds: 371.2 },
      outcomes: { done: 1, failed: 1 },
      checks: [],
    },
    causes: [{ error: UNREADABLE, count: 1, items: [FAILED] }],
    items: [FAILED, item("scene", "12", "Final", { tags: FOUND, calls: 1204, seconds: 371.2 }), item("image", "7", "Team"), item("image", "8", "")],
  },
};
