// Made by `make docs` from haven/pages/contract.py. Do not edit.

/** The version of this contract. */
export type Api = 1;

export interface Failure {
  ok: false;
  code: Code;
  message: string;
}

export type Reply<Value> = { ok: true; value: Value } | Failure;

/** The reply to one batch: a reply to each call in their order, or one failure of all. */
export type BatchReply = { api: number } & ({ ok: true; replies: Reply<unknown>[] } | Failure);

export type Operation = keyof Operations;

/** One call of a batch. */
export type Call = { [Op in Operation]: { op: Op } & Operations[Op]["arguments"] }[Operation];

export type Code = "bad_request" | "not_found" | "busy" | "changed" | "settings" | "stash" | "store" | "endpoint" | "packages" | "setup" | "updating" | "version" | "unexpected";

export type KeyState = "set" | "environment" | "none";

export type ItemKind = "scene" | "image" | "gallery";

export type SpanState = "marker" | "below" | "wrong" | "adjusted" | "kept" | "gone";

export type DecisionKind = "keep" | "wrong" | "adjust" | "bring_back";

export type UndoState = "possible" | "undone" | "none";

/** Arguments of an operation that takes none. */
export type Nothing = {};

/** One scene, image or gallery. */
export interface ItemArguments {
  id: string;
}

/** Frames of a scene, at most `width` pixels wide. */
export interface FramesArguments {
  scene: string;
  times_s: number[];
  width: number;
}

/** A person's decision about a stretch of a tag. `new_…`: the stretch that "adjust" sets. Images and galleries have no stretches: the times are 0. */
export interface Decision {
  kind: DecisionKind;
  tag: string;
  start_s: number;
  end_s: number;
  marker_id?: string | null;
  new_start_s?: number | null;
  new_end_s?: number | null;
}

/** Decisions that were made against `revision` of the item's evidence. */
export interface DecideArguments {
  kind: ItemKind;
  id: string;
  revision: number;
  decisions: Decision[];
}

/** The item whose last decision is undone. */
export interface UndoArguments {
  kind: ItemKind;
  id: string;
  revision: number;
}

/** One setting as JSON text. null removes it from the settings that the page wrote. ENDPOINTS is the whole list, each entry an `EndpointChange`. Settings that are not editable are refused. */
export interface SettingChange {
  name: string;
  value: string | null;
}

/** An API key to store. No operation returns it. */
export interface NewKey {
  set: string;
}

/** One entry of ENDPOINTS. `was`: its index among the endpoints that `settings` returned, null for a new one. Only an entry that keeps its address can keep its key. */
export interface EndpointChange {
  base_url: string;
  key: "keep" | "none" | NewKey;
  was?: number | null;
  name?: string;
  model_id?: string | null;
  weight?: number;
  is_fallback?: boolean;
  max_concurrent?: number | "auto" | null;
}

/** Changes that were made against `revision` of the settings. */
export interface ChangeSettingsArguments {
  revision: number;
  changes: SettingChange[];
}

/** The text of a `haven_vlm_config.py` of an earlier plugin. `write`: take its settings over into `revision` of the settings; otherwise they are only named. */
export interface EarlierSettingsArguments {
  revision: number;
  text: string;
  write: boolean;
}

/** The last change of the settings, which led to `revision`. */
export interface UndoSettingsArguments {
  revision: number;
}

/** An endpoint by its index in the settings. */
export interface EndpointArguments {
  endpoint: number;
}

/** An endpoint by its index in the settings. null: the machine and Stash, without any. */
export interface CheckArguments {
  endpoint: number | null;
}

/** A page of runs, from 0. */
export interface RunsArguments {
  page: number;
}

/** One run by the name of its report's files without the ending, and a page of its items, from 0. */
export interface RunArguments {
  stem: string;
  page?: number;
}

/** One item of a run of the journal. */
export interface RunItemArguments {
  run: number;
  kind: ItemKind;
  id: string;
}

/** Items that a task would work on, by the names that its arguments have. Without any: the queue. `…_filter`: the criteria of Stash's own requests as JSON text; `search` goes with them. `is_new`: everything that is not tagged yet, without what carries one of `except_tags`. */
export interface ForecastArguments {
  scenes?: string[];
  images?: string[];
  galleries?: string[];
  scene_filter?: string | null;
  image_filter?: string | null;
  gallery_filter?: string | null;
  search?: string;
  is_new?: boolean;
  except_tags?: string[];
}

/** The number of scenes and images that wait. */
export interface QueueSize {
  scenes: number;
  images: number;
}

/** A run as a list shows it. `end`: "finished", "sliced" or "broken off". `run_id`: its number in the journal, 0 without one. `items`: scenes, images and galleries by outcome. `seconds`: model seconds. */
export interface RunSummary {
  stem: string;
  run_id: number;
  task: string;
  started: number;
  ended: number;
  end: string;
  end_line: string;
  error: string;
  has_page: boolean;
  items: { [name: string]: number };
  calls: number;
  seconds: number;
}

/** State of the plugin. `queued` is null while Stash cannot be asked. `revision`: that of the settings that the page wrote. `is_running`: a task is under way, also one that only looks. */
export interface Status {
  version: string;
  revision: number;
  queued: QueueSize | null;
  last_run: RunSummary | null;
  is_running: boolean;
}

/** A stretch that was found, or decided. `by_person`: a person made or changed the marker. */
export interface SpanEvidence {
  start_s: number;
  end_s: number;
  confidence: number | null;
  state: SpanState;
  marker_id: string | null;
  by_person: boolean;
}

/** A tag's stretches in a scene. `in_stash`: its name there. A tag of an image or a gallery has one, from 0 to 0. */
export interface TagEvidence {
  tag: string;
  in_stash: string;
  threshold: number;
  spans: SpanEvidence[];
}

/** A frame that was asked about. `tags`: name, presence, and probability where it is known. */
export interface FrameEvidence {
  time_s: number;
  tags: ([string, boolean, number | null])[];
}

/** Everything that is known about an item. `looked_at` is null where nothing is; `note` says why. `gaps_s`: stretches that could not be seen. `effort`: how hard a scene was searched, null if unknown. An image has one frame, at 0 s. */
export interface ItemEvidence {
  kind: ItemKind;
  id: string;
  revision: number;
  title: string;
  duration_s: number;
  looked_at: number | null;
  model: string;
  task: string;
  effort: number | null;
  tags: TagEvidence[];
  frames: FrameEvidence[];
  gaps_s: [number, number][];
  note: string;
}

/** A picture as base64 of a JPEG, or the reason why there is none. */
export interface Frame {
  time_s: number;
  jpeg: string | null;
  error: string;
}

/** Pictures in the order of the request. */
export interface Frames {
  frames: Frame[];
}

/** A setting. `value` and `default` are JSON text; `source` is where it was set, and `kind` the form of its value. `is_editable`: `change_settings` takes it. `hides`: other places where it is set, which do not count. */
export interface SettingValue {
  name: string;
  value: string;
  source: string;
  text: string;
  default: string;
  kind: "text" | "number" | "switch" | "list" | "object";
  is_editable: boolean;
  hides: string[];
}

/** An endpoint without its key. `model` is "" where it has none of its own. */
export interface EndpointValue {
  name: string;
  address: string;
  key: KeyState;
  model: string;
  weight: number;
  is_fallback: boolean;
  max_concurrent: number | "auto" | null;
}

/** All settings. `faults`: what is wrong with them; then `values` lacks the faulty ones. `can_undo`: the last change that the page wrote can be undone. */
export interface SettingsValue {
  revision: number;
  values: SettingValue[];
  endpoints: EndpointValue[];
  faults: string[];
  can_undo: boolean;
}

/** A setting of an earlier plugin with its value as a person reads it, without keys. */
export interface TakenSetting {
  name: string;
  value: string;
}

/** Settings of an earlier plugin. `notes`: what is left out, and why. `settings`: all as they are now. */
export interface EarlierSettingsValue {
  taken: TakenSetting[];
  notes: string[];
  settings: SettingsValue;
}

/** A model that a server offers. `vision` is null where the server does not tell. */
export interface ModelOffer {
  name: string;
  vision: boolean | null;
}

/** The models of a server. `server`: its kind, or "" if it is not known. */
export interface Models {
  models: ModelOffer[];
  server: string;
}

/** One thing that was checked. */
export interface FindingValue {
  severity: "ok" | "note" | "wrong";
  what: string;
  text: string;
  figures: { [name: string]: number | string | boolean | null };
}

/** All findings about one subject. */
export interface SectionValue {
  kind: "endpoint" | "machine" | "cluster" | "stash" | "frames" | "forecast";
  title: string;
  works: boolean;
  findings: FindingValue[];
}

/** Results of a check or a forecast. */
export interface Sections {
  sections: SectionValue[];
}

/** One page of runs, newest first. `more`: there are older ones. */
export interface RunList {
  runs: RunSummary[];
  more: boolean;
}

/** A tag that a run found in an item. `spans`: start and end of each, in seconds, and its confidence; an image has none. */
export interface FoundTag {
  tag: string;
  spans: ([number, number, number | null])[];
}

/** Changes of an item, made or planned. Markers are counted by their title. The sentences of `kept_back`, and the names of the last two, are about what stays as it is. */
export interface ItemChanges {
  tags_added: string[];
  tags_removed: string[];
  markers_added: { [name: string]: number };
  markers_removed: { [name: string]: number };
  kept_back: string[];
  stays_off: string[];
  left_alone: string[];
}

/** One item of a run. `error`: cause and remedy. `calls` and `seconds`: of the model. `undo`: whether the run can be undone on it. */
export interface RunItem {
  kind: ItemKind;
  id: string;
  title: string;
  outcome: string;
  error: string;
  note: string;
  tags: FoundTag[];
  change: ItemChanges;
  calls: number;
  seconds: number;
  undo: UndoState;
}

/** A cause of failures, with the number of its items and the first of them. */
export interface FailureCause {
  error: string;
  count: number;
  items: RunItem[];
}

/** A run's report with one page of its items, those that failed first. `report`: everything but the items. `count`: of all items. `left`: on how many a change can be undone. */
export interface RunReportValue {
  report: { [name: string]: unknown };
  causes: FailureCause[];
  items: RunItem[];
  count: number;
  more: boolean;
  left: number;
}

/** A run's report as a page of HTML that is whole in itself. */
export interface RunPage {
  html: string;
}

/** Changes that undoing a run would make on one item. `also`: later runs that are undone on it as well. */
export interface UndoPreview {
  change: ItemChanges;
  also: string[];
}

/** One tag by its name in the tag list. null: all tags. */
export interface LeastSureArguments {
  tag: string | null;
}

/** Counts for a tag. `former_names`: those under which its settings are found, too. `found`: its markers and images in Stash that the plugin put there and nobody judged; the others are spans that people judged. `is_looked_for`: the settings name it now, so its threshold can be changed. */
export interface TagResult {
  name: string;
  former_names: string[];
  found: number;
  kept: number;
  wrong: number;
  adjusted: number;
  threshold: number;
  is_looked_for: boolean;
}

/** Counts for every tag that is looked for, or was. */
export interface TagResults {
  tags: TagResult[];
}

/** A marker of the plugin that nobody judged. `title`: that of the scene, or its file. */
export interface UnsureMarker {
  scene: string;
  title: string;
  tag: string;
  start_s: number;
  confidence: number;
}

/** The ten markers with the lowest confidences, the least sure first. */
export interface LeastSure {
  markers: UnsureMarker[];
}

/** A tag of Stash. `meaning`: what the model is told of it, from its description. `former_names`: those under which its settings are found, too. `parents`: ids. `is_chosen`: it is looked for. */
export interface TreeTag {
  id: string;
  name: string;
  aliases: string[];
  former_names: string[];
  meaning: string;
  parents: string[];
  ignore_auto_tag: boolean;
  is_chosen: boolean;
}

/** All tags of Stash but those that steer the plugin, in the order of their names. `notes`: what a user should know of those that are chosen, such as one that is gone. */
export interface TagTree {
  tags: TreeTag[];
  notes: string[];
}

/** Every operation. */
export interface Operations {
  status: { arguments: Nothing; value: Status };
  scene: { arguments: ItemArguments; value: ItemEvidence };
  image: { arguments: ItemArguments; value: ItemEvidence };
  gallery: { arguments: ItemArguments; value: ItemEvidence };
  frames: { arguments: FramesArguments; value: Frames };
  decide: { arguments: DecideArguments; value: ItemEvidence };
  undo_decision: { arguments: UndoArguments; value: ItemEvidence };
  settings: { arguments: Nothing; value: SettingsValue };
  change_settings: { arguments: ChangeSettingsArguments; value: SettingsValue };
  earlier_settings: { arguments: EarlierSettingsArguments; value: EarlierSettingsValue };
  undo_settings: { arguments: UndoSettingsArguments; value: SettingsValue };
  models: { arguments: EndpointArguments; value: Models };
  check: { arguments: CheckArguments; value: Sections };
  forecast: { arguments: ForecastArguments; value: Sections };
  runs: { arguments: RunsArguments; value: RunList };
  run: { arguments: RunArguments; value: RunReportValue };
  run_page: { arguments: RunArguments; value: RunPage };
  preview_undo: { arguments: RunItemArguments; value: UndoPreview };
  tag_results: { arguments: Nothing; value: TagResults };
  least_sure: { arguments: LeastSureArguments; value: LeastSure };
  tag_tree: { arguments: Nothing; value: TagTree };
}
