/**
 * A server for the harness page: Stash's addresses below a sub-path, with Stash's policy, and the
 * plugin's operations over evidence in memory.
 */
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

import { operations, pageState } from "./operations.js";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const UI = fileURLToPath(new URL("../../../ui/", import.meta.url));
const MODULES = fileURLToPath(new URL("../node_modules/", import.meta.url));
const LIBRARIES = {
  "react.js": "react/umd/react.development.js",
  "react-dom.js": "react-dom/umd/react-dom.development.js",
  "react-bootstrap.js": "react-bootstrap/dist/react-bootstrap.js",
  "react-router-dom.js": "react-router-dom/umd/react-router-dom.js",
  "bootstrap.css": "bootstrap/dist/css/bootstrap.min.css",
};
const TYPES = { ".js": "text/javascript", ".css": "text/css", ".html": "text/html" };
const POLICY =
  "default-src data: 'self' 'unsafe-inline'; connect-src data: 'self' ws: wss:; img-src data: *; " +
  "script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; " +
  "child-src 'none'; object-src 'none'; form-action 'self'";
const PLUGIN = "/stash/plugin/ahavenvlmconnector";
const PIXEL = "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////////2wBDAf//////////////////////////////////////////////////////////////////////////////////////wAARCAABAAEDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAX/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QAFAEBAAAAAAAAAAAAAAAAAAAAAP/EABQRAQAAAAAAAAAAAAAAAAAAAAD/2gAMAwEAAhEDEQA/AL+AAf/Z";

const span = (start_s, end_s, confidence, state) => ({
  start_s, end_s, confidence, state, marker_id: state === "marker" ? String(start_s) : null, by_person: false,
});
const row = (tag, ...spans) => ({ tag, in_stash: tag, threshold: 0.7, spans });

/** Return what the plugin knows at the start, by scene. */
function fixtures() {
  const frames = Array.from({ length: 90 }, (_, index) => ({
    time_s: index * 40 + 5,
    tags: [["Foul", index % 9 === 3, 0.9], ["Goal", index % 20 === 7, null], ["Turnover", false, 0.1]],
  }));
  const common = { kind: "scene", effort: 1, title: "Final", looked_at: Date.now() / 1000 - 90000, model: "qwen3-vl-8b", task: "Tag Videos", note: "" };
  const scene = {
    ...common, id: "12", revision: 1, duration_s: 3600, frames, gaps_s: [[3400, 3600]],
    tags: [
      row("Foul", span(124, 151, 0.97, "marker"), span(720, 760, 0.8, "marker"), span(1500, 1530, 0.4, "below")),
      row("Goal", span(281, 300, 0.92, "marker"), span(2600, 2640, 0.74, "marker")),
      row("Turnover", span(905, 930, 0.55, "below")),
      row("Break-away", span(1980, 2010, 0.88, "wrong")),
      row("Basketball point with an uncommonly long name", span(300, 305, null, "marker")),
    ],
  };
  const spans = Array.from({ length: 5000 }, (_, index) => span(index * 2, index * 2 + 1.5, (index % 100) / 100, "marker"));
  const tags = Array.from({ length: 50 }, (_, index) => row(`Tag ${index}`, ...spans.slice(index * 100, index * 100 + 100)));
  const large = { ...scene, id: "5000", duration_s: 10000, tags: [row("Foul", ...spans), ...tags], gaps_s: [] };
  const never = { ...scene, id: "13", looked_at: null, model: "", effort: null, tags: [], frames: [], gaps_s: [], note: "" };
  const nothing = {
    ...never, id: "14", looked_at: common.looked_at, model: common.model, frames: frames.map((frame, index) => ({ ...frame, tags: index % 5 ? [["Foul", false, 0.1]] : [] })), effort: 1,
    tags: [row("Foul"), row("Goal", span(281, 300, 0.62, "below"))],
  };
  const long = { ...scene, id: "6h", duration_s: 21600, tags: [row("Foul", span(21000, 21600, 0.9, "marker"))] };
  const unmeasured = { ...scene, id: "0", duration_s: 0, gaps_s: [] };
  const whole = (kind, id, tags) => ({ ...never, kind, id, revision: 1, duration_s: 0, tags });
  const image = {
    ...whole("image", "7", [row("Foul", span(0, 0, 0.91, "marker")), row("Offside", span(0, 0, 0.55, "below")), row("Goal", span(0, 0, 0.12, "below"))]),
    looked_at: Date.now() / 1000 - 400, model: common.model,
    frames: [{ time_s: 0, tags: [["Foul", true, 0.91], ["Offside", true, 0.55], ["Goal", false, 0.12]] }],
  };
  const gallery = whole("gallery", "3", [row("Foul", span(0, 0, null, "marker"))]);
  const all = [scene, large, never, nothing, long, unmeasured, image, gallery];
  return new Map(all.map((one) => [`${one.kind} ${one.id}`, one]));
}

const STATES = { keep: "kept", wrong: "wrong", adjust: "adjusted", bring_back: "kept" };

const named = (...names) => names.map((name) => ({ name }));
const PLUGINS = [
  { id: "ahavenvlmconnector", tasks: named("Tag Videos", "Tag Images", "Preview") },
  { id: "other", tasks: named("Preview") },
  { id: "bare", tasks: null },
];

/** The plugin's operations and Stash's jobs. `calls`: every operation that came, in order. */
export class FakePlugin {
  constructor() {
    this.items = fixtures();
    this.page = pageState();
    this.before = [];
    this.calls = [];
    this.tasks = [];
    this.requests = [];
    this.jobs = [];
    /** How often a job is asked for until it is over. */
    this.lasts = 4;
    this.refusals = [];
    this.failing = new Set();
    /** Milliseconds before the answer to an operation, by its name. */
    this.delays = {};
    this.isBroken = false;
    this.isMissing = false;
    this.needsPackages = false;
  }

  graphql({ query, variables }) {
    if (query.includes("runPluginOperation")) {
      if (this.isBroken) return { errors: [{ message: "error running plugin: exit status 1" }] };
      const reply = { data: { runPluginOperation: this.replies(variables.args) } };
      return new Promise((resolve) => setTimeout(resolve, this.delays[variables.args.calls[0].op] ?? 0, reply));
    }
    if (query.includes("runPluginTask")) {
      this.tasks.push(variables);
      return { data: { runPluginTask: this.queue(variables.description) } };
    }
    if (query.includes("HavenNewestScene")) {
      return { data: { findScenes: { scenes: [{ id: "13", title: "Cup final", files: [] }] } } };
    }
    if (query.includes("stopJob")) {
      this.job(variables.id).status = "CANCELLED";
      return { data: { stopJob: true } };
    }
    if (query.includes("findJob")) return { data: { findJob: this.job(variables.id) } };
    if (query.includes("findTags")) return { data: { findTags: { tags: this.tagsWith(variables.tags.name.value) } } };
    if (query.includes("plugins")) return { data: { plugins: PLUGINS } };
    return { data: { jobQueue: this.nextJobs() } };
  }

  /** Put a job into Stash's queue, as a task that somebody starts. Return its id. */
  queue(task, { lasts = this.lasts } = {}) {
    const id = String(31 + this.jobs.length);
    this.jobs.push({ id, description: `Running plugin task: ${task}`, status: "READY", progress: null, error: null, lasts });
    return id;
  }

  job(id) {
    return this.jobs.find((one) => one.id === id) ?? null;
  }

  /** Return the jobs that are not over. The first of them gets on each time; null: there is none. */
  nextJobs() {
    const isOver = ({ status }) => status === "FINISHED" || status === "CANCELLED";
    const first = this.jobs.find((one) => !isOver(one));
    if (first) {
      first.status = "RUNNING";
      first.progress = Math.min(1, (first.progress ?? 0) + 1 / first.lasts);
      if (first.progress > 0.99) first.status = "FINISHED";
    }
    const going = this.jobs.filter((one) => !isOver(one));
    return going.length ? going : null;
  }

  tagsWith(text) {
    const wanted = text.replaceAll('"', "").toLowerCase();
    return this.page.tags.filter(({ name, aliases }) => [name, ...aliases].some((one) => one.toLowerCase().includes(wanted)));
  }

  replies({ mode, api, calls }) {
    if (mode !== "pages" || api !== 1) return { api: 1, ok: false, code: "version", message: "" };
    if (this.needsPackages && this.tasks.length) this.needsPackages = false;
    if (this.needsPackages) return { api: 1, ok: false, code: "packages", message: "Packages are not installed yet." };
    const replies = calls.map((one) => {
      this.calls.push(one);
      const code = this.failing.has(one.op) ? "stash" : this.refusals.shift();
      if (code) return { ok: false, code, message: `refused: ${code}` };
      return { ok: true, value: this[one.op](one) };
    });
    return { api: 1, ok: true, replies };
  }

  scene({ id }) {
    return this.items.get(`scene ${id}`);
  }

  image({ id }) {
    return this.items.get(`image ${id}`);
  }

  gallery({ id }) {
    return this.items.get(`gallery ${id}`);
  }

  frames({ times_s }) {
    return { frames: times_s.map((time_s) => ({ time_s, jpeg: PIXEL, error: "" })) };
  }

  decide({ kind, id, decisions }) {
    const known = this.items.get(`${kind} ${id}`);
    this.before.push(known);
    const change = (tag, one) => {
      const made = decisions.find((each) => each.tag === tag && each.start_s === one.start_s);
      if (!made) return one;
      const place = { start_s: made.new_start_s ?? one.start_s, end_s: made.new_end_s ?? one.end_s };
      return { ...one, ...place, state: STATES[made.kind], by_person: true };
    };
    const tags = known.tags.map((each) => ({ ...each, spans: each.spans.map((one) => change(each.tag, one)) }));
    return this.stored({ ...known, tags });
  }

  undo_decision() {
    return this.stored(this.before.pop());
  }

  stored(item) {
    const key = `${item.kind} ${item.id}`;
    const saved = { ...item, revision: this.items.get(key).revision + 1 };
    this.items.set(key, saved);
    return saved;
  }
}
Object.assign(FakePlugin.prototype, operations);

/** Another Stash, which has the plugin and gets every request. */
export class OtherStash {
  constructor(url) {
    this.url = url;
    this.requests = [];
  }

  async graphql(request) {
    const headers = { "content-type": "application/json" };
    const response = await fetch(`${this.url}/graphql`, { method: "POST", headers, body: JSON.stringify(request) });
    return response.json();
  }
}

/**
 * Start the server on a free port. Return its address, without a slash at the end, and `close`.
 * @param {() => FakePlugin | OtherStash} plugin
 */
export async function serve(plugin) {
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname;
    plugin().requests.push(path);
    try {
      const [type, body] = await answer(path, request, plugin());
      const isSame = /\/(lib|assets)\/|\/page\.js$/.test(path);
      response.writeHead(200, {
        "cache-control": isSame ? "max-age=600" : "no-cache",
        "content-security-policy": POLICY,
        "content-type": type,
        "x-content-type-options": "nosniff",
      });
      response.end(body);
    } catch {
      response.writeHead(404, { "content-type": "text/plain" });
      response.end("not found");
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/stash`, close: () => server.close() };
}

async function answer(path, request, plugin) {
  if (path === "/stash/graphql") {
    const parts = [];
    for await (const part of request) parts.push(part);
    const reply = await plugin.graphql(JSON.parse(Buffer.concat(parts).toString()));
    return ["application/json", JSON.stringify(reply)];
  }
  const library = path.startsWith("/stash/lib/") && LIBRARIES[path.slice("/stash/lib/".length)];
  if (library) return read(join(MODULES, library));
  if (path === "/stash/page.js") return read(join(HERE, "page.js"));
  if (path === `${PLUGIN}/javascript`) return read(join(UI, "haven.js"));
  if (path === `${PLUGIN}/css`) return read(join(UI, "haven.css"));
  const asset = /\/assets\/[0-9.]+\/(.*)$/.exec(path);
  if (asset && !plugin.isMissing) return read(normalize(join(UI, asset[1])));
  if (/\.\w+$|\/plugin\//.test(path)) throw new Error("not found");
  return read(join(HERE, "page.html"));
}

const read = async (file) => [TYPES[extname(file)], await readFile(file)];
