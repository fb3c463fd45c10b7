"""Arguments and values of every operation, for both ends: ``make docs`` writes
``ui/contract.d.ts`` from them.

A field's name is its name in JSON. Times in seconds end in ``_s``; other moments are seconds since
the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

API = 1
"""The version of this contract. A page that was loaded before an update may have another."""

Code: TypeAlias = Literal[
    "bad_request",
    "not_found",
    "busy",
    "changed",
    "settings",
    "stash",
    "store",
    "endpoint",
    "packages",
    "setup",
    "updating",
    "version",
    "unexpected",
]
"""Kinds of failure. ``endpoint``: a model's server failed. ``packages``: the plugin's packages are
not installed yet, which any task does. ``setup``: this machine cannot run the plugin as it is.
``version``: the page must be loaded again.
"""
KeyState: TypeAlias = Literal["set", "environment", "none"]
ItemKind: TypeAlias = Literal["scene", "image", "gallery"]
SpanState: TypeAlias = Literal["marker", "below", "wrong", "adjusted", "kept", "gone"]
DecisionKind: TypeAlias = Literal["keep", "wrong", "adjust", "bring_back"]
UndoState: TypeAlias = Literal["possible", "undone", "none"]
Figures: TypeAlias = Mapping[str, float | str | bool | None]
Report: TypeAlias = Mapping[str, Any]
"""The JSON file of a run's report, without its items."""


@dataclass(frozen=True, slots=True)
class Most:
    """The largest number, or the most letters or entries."""

    most: int


Id: TypeAlias = Annotated[str, Most(20)]
"""The id of a scene, image or marker in Stash."""


# Arguments.


@dataclass(frozen=True, slots=True)
class Nothing:
    """Arguments of an operation that takes none."""


@dataclass(frozen=True, slots=True)
class ItemArguments:
    """One scene, image or gallery."""

    id: Id


@dataclass(frozen=True, slots=True)
class FramesArguments:
    """Frames of a scene, at most ``width`` pixels wide."""

    scene: Id
    times_s: Annotated[tuple[float, ...], Most(24)]
    width: Annotated[int, Most(640)]


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's decision about a stretch of a tag. ``new_…``: the stretch that "adjust" sets.

    Images and galleries have no stretches: the times are 0.
    """

    kind: DecisionKind
    tag: Annotated[str, Most(400)]
    start_s: float
    end_s: float
    marker_id: Id | None = None
    new_start_s: float | None = None
    new_end_s: float | None = None


@dataclass(frozen=True, slots=True)
class DecideArguments:
    """Decisions that were made against ``revision`` of the item's evidence."""

    kind: ItemKind
    id: Id
    revision: int
    decisions: Annotated[tuple[Decision, ...], Most(500)]


@dataclass(frozen=True, slots=True)
class UndoArguments:
    """The item whose last decision is undone."""

    kind: ItemKind
    id: Id
    revision: int


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One setting as JSON text. None removes it from the settings that the page wrote.

    ENDPOINTS is the whole list, each entry an ``EndpointChange``. Settings that are not editable
    are refused.
    """

    name: Annotated[str, Most(100)]
    value: Annotated[str | None, Most(1_000_000)]


@dataclass(frozen=True, slots=True)
class NewKey:
    """An API key to store. No operation returns it."""

    set: Annotated[str, Most(4000)]


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """One entry of ENDPOINTS. ``was``: its index among the endpoints that ``settings`` returned,
    None for a new one. Only an entry that keeps its address can keep its key.
    """

    base_url: Annotated[str, Most(2000)]
    key: Literal["keep", "none"] | NewKey
    was: int | None = None
    name: Annotated[str, Most(200)] = ""
    model_id: Annotated[str | None, Most(400)] = None
    weight: float = 1.0
    is_fallback: bool = False
    max_concurrent: int | Literal["auto"] | None = None


@dataclass(frozen=True, slots=True)
class ChangeSettingsArguments:
    """Changes that were made against ``revision`` of the settings."""

    revision: int
    changes: Annotated[tuple[SettingChange, ...], Most(200)]


@dataclass(frozen=True, slots=True)
class EarlierSettingsArguments:
    """The text of a ``haven_vlm_config.py`` of an earlier plugin. ``write``: take its settings over
    into ``revision`` of the settings; otherwise they are only named.
    """

    revision: int
    text: Annotated[str, Most(200_000)]
    write: bool


@dataclass(frozen=True, slots=True)
class UndoSettingsArguments:
    """The last change of the settings, which led to ``revision``."""

    revision: int


@dataclass(frozen=True, slots=True)
class EndpointArguments:
    """An endpoint by its index in the settings."""

    endpoint: int


@dataclass(frozen=True, slots=True)
class CheckArguments:
    """An endpoint by its index in the settings. None: the machine and Stash, without any."""

    endpoint: int | None


@dataclass(frozen=True, slots=True)
class RunsArguments:
    """A page of runs, from 0."""

    page: Annotated[int, Most(1_000_000)]


@dataclass(frozen=True, slots=True)
class RunArguments:
    """One run by the name of its report's files without the ending, and a page of its items, from
    0.
    """

    stem: Annotated[str, Most(100)]
    page: Annotated[int, Most(1_000_000)] = 0


@dataclass(frozen=True, slots=True)
class RunItemArguments:
    """One item of a run of the journal."""

    run: int
    kind: ItemKind
    id: Id


@dataclass(frozen=True, slots=True)
class ForecastArguments:
    """Items that a task would work on, by the names that its arguments have. Without any: the
    queue.

    ``…_filter``: the criteria of Stash's own requests as JSON text; ``search`` goes with them.
    ``is_new``: everything that is not tagged yet, without what carries one of ``except_tags``.
    """

    scenes: Annotated[tuple[Id, ...], Most(2000)] = ()
    images: Annotated[tuple[Id, ...], Most(2000)] = ()
    galleries: Annotated[tuple[Id, ...], Most(2000)] = ()
    scene_filter: Annotated[str | None, Most(100_000)] = None
    image_filter: Annotated[str | None, Most(100_000)] = None
    gallery_filter: Annotated[str | None, Most(100_000)] = None
    search: Annotated[str, Most(1000)] = ""
    is_new: bool = False
    except_tags: Annotated[tuple[Annotated[str, Most(400)], ...], Most(200)] = ()


# Values.


@dataclass(frozen=True, slots=True)
class QueueSize:
    """The number of scenes and images that wait."""

    scenes: int
    images: int


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as a list shows it. ``end``: "finished", "sliced" or "broken off". ``run_id``: its
    number in the journal, 0 without one. ``items``: scenes, images and galleries by outcome.
    ``seconds``: model seconds.
    """

    stem: str
    run_id: int
    task: str
    started: float
    ended: float
    end: str
    end_line: str
    error: str
    has_page: bool
    items: Mapping[str, int]
    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Status:
    """State of the plugin. ``queued`` is None while Stash cannot be asked. ``revision``: that of
    the settings that the page wrote. ``is_running``: a task is under way, also one that only looks.
    """

    version: str
    revision: int
    queued: QueueSize | None
    last_run: RunSummary | None
    is_running: bool


@dataclass(frozen=True, slots=True)
class SpanEvidence:
    """A stretch that was found, or decided. ``by_person``: a person made or changed the marker."""

    start_s: float
    end_s: float
    confidence: float | None
    state: SpanState
    marker_id: str | None
    by_person: bool


@dataclass(frozen=True, slots=True)
class TagEvidence:
    """A tag's stretches in a scene. ``in_stash``: its name there.

    A tag of an image or a gallery has one, from 0 to 0.
    """

    tag: str
    in_stash: str
    threshold: float
    spans: tuple[SpanEvidence, ...]


@dataclass(frozen=True, slots=True)
class FrameEvidence:
    """A frame that was asked about. ``tags``: name, presence, and probability where it is known."""

    time_s: float
    tags: tuple[tuple[str, bool, float | None], ...]


@dataclass(frozen=True, slots=True)
class ItemEvidence:
    """Everything that is known about an item. ``looked_at`` is None where nothing is; ``note`` says
    why. ``gaps_s``: stretches that could not be seen. ``effort``: how hard a scene was searched,
    None if unknown. An image has one frame, at 0 s.
    """

    kind: ItemKind
    id: str
    revision: int
    title: str
    duration_s: float
    looked_at: float | None
    model: str
    task: str
    effort: float | None
    tags: tuple[TagEvidence, ...]
    frames: tuple[FrameEvidence, ...]
    gaps_s: tuple[tuple[float, float], ...]
    note: str


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture as base64 of a JPEG, or the reason why there is none."""

    time_s: float
    jpeg: str | None
    error: str


@dataclass(frozen=True, slots=True)
class Frames:
    """Pictures in the order of the request."""

    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class SettingValue:
    """A setting. ``value`` and ``default`` are JSON text; ``source`` is where it was set, and
    ``kind`` the form of its value. ``is_editable``: ``change_settings`` takes it. ``hides``: other
    places where it is set, which do not count.
    """

    name: str
    value: str
    source: str
    text: str
    default: str
    kind: Literal["text", "number", "switch", "list", "object"]
    is_editable: bool
    hides: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndpointValue:
    """An endpoint without its key. ``model`` is "" where it has none of its own."""

    name: str
    address: str
    key: KeyState
    model: str
    weight: float
    is_fallback: bool
    max_concurrent: int | Literal["auto"] | None


@dataclass(frozen=True, slots=True)
class SettingsValue:
    """All settings. ``faults``: what is wrong with them; then ``values`` lacks the faulty ones.
    ``can_undo``: the last change that the page wrote can be undone.
    """

    revision: int
    values: tuple[SettingValue, ...]
    endpoints: tuple[EndpointValue, ...]
    faults: tuple[str, ...]
    can_undo: bool


@dataclass(frozen=True, slots=True)
class TakenSetting:
    """A setting of an earlier plugin with its value as a person reads it, without keys."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class EarlierSettingsValue:
    """Settings of an earlier plugin. ``notes``: what is left out, and why. ``settings``: all as
    they are now.
    """

    taken: tuple[TakenSetting, ...]
    notes: tuple[str, ...]
    settings: SettingsValue


@dataclass(frozen=True, slots=True)
class ModelOffer:
    """A model that a server offers. ``vision`` is None where the server does not tell."""

    name: str
    vision: bool | None


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a server. ``server``: its kind, or "" if it is not known."""

    models: tuple[ModelOffer, ...]
    server: str


@dataclass(frozen=True, slots=True)
class FindingValue:
    """One thing that was checked."""

    severity: Literal["ok", "note", "wrong"]
    what: str
    text: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class SectionValue:
    """All findings about one subject."""

    kind: Literal["endpoint", "machine", "cluster", "stash", "frames", "forecast"]
    title: str
    works: bool
    findings: tuple[FindingValue, ...]


@dataclass(frozen=True, slots=True)
class Sections:
    """Results of a check or a forecast."""

    sections: tuple[SectionValue, ...]


@dataclass(frozen=True, slots=True)
class RunList:
    """One page of runs, newest first. ``more``: there are older ones."""

    runs: tuple[RunSummary, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class FoundTag:
    """A tag that a run found in an item. ``spans``: start and end of each, in seconds, and its
    confidence; an image has none.
    """

    tag: str
    spans: tuple[tuple[float, float, float | None], ...]


@dataclass(frozen=True, slots=True)
class ItemChanges:
    """Changes of an item, made or planned. Markers are counted by their title. The sentences
    of ``kept_back``, and the names of the last two, are about what stays as it is.
    """

    tags_added: tuple[str, ...]
    tags_removed: tuple[str, ...]
    markers_added: Mapping[str, int]
    markers_removed: Mapping[str, int]
    kept_back: tuple[str, ...]
    stays_off: tuple[str, ...]
    left_alone: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunItem:
    """One item of a run. ``error``: cause and remedy. ``calls`` and ``seconds``: of the model.
    ``undo``: whether the run can be undone on it.
    """

    kind: ItemKind
    id: str
    title: str
    outcome: str
    error: str
    note: str
    tags: tuple[FoundTag, ...]
    change: ItemChanges
    calls: int
    seconds: float
    undo: UndoState


@dataclass(frozen=True, slots=True)
class FailureCause:
    """A cause of failures, with the number of its items and the first of them."""

    error: str
    count: int
    items: tuple[RunItem, ...]


@dataclass(frozen=True, slots=True)
class RunReportValue:
    """A run's report with one page of its items, those that failed first. ``report``: everything
    but the items. ``count``: of all items. ``left``: on how many a change can be undone.
    """

    report: Report
    causes: tuple[FailureCause, ...]
    items: tuple[RunItem, ...]
    count: int
    more: bool
    left: int


@dataclass(frozen=True, slots=True)
class RunPage:
    """A run's report as a page of HTML that is whole in itself."""

    html: str


@dataclass(frozen=True, slots=True)
class UndoPreview:
    """Changes that undoing a run would make on one item. ``also``: later runs that are undone on it
    as well.
    """

    change: ItemChanges
    also: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeastSureArguments:
    """One tag by its name in the tag list. None: all tags."""

    tag: Annotated[str | None, Most(400)]


@dataclass(frozen=True, slots=True)
class TagResult:
    """Counts for a tag. ``former_names``: those under which its settings are found, too.
    ``found``: its markers and images in Stash that the plugin put there and nobody judged; the
    others are spans that people judged. ``is_looked_for``: the settings name it now, so its
    threshold can be changed.
    """

    name: str
    former_names: tuple[str, ...]
    found: int
    kept: int
    wrong: int
    adjusted: int
    threshold: float
    is_looked_for: bool


@dataclass(frozen=True, slots=True)
class TagResults:
    """Counts for every tag that is looked for, or was."""

    tags: tuple[TagResult, ...]


@dataclass(frozen=True, slots=True)
class UnsureMarker:
    """A marker of the plugin that nobody judged. ``title``: that of the scene, or its file."""

    scene: str
    title: str
    tag: str
    start_s: float
    confidence: float


@dataclass(frozen=True, slots=True)
class LeastSure:
    """The ten markers with the lowest confidences, the least sure first."""

    markers: tuple[UnsureMarker, ...]


@dataclass(frozen=True, slots=True)
class TreeTag:
    """A tag of Stash. ``meaning``: what the model is told of it, from its description.
    ``former_names``: those under which its settings are found, too. ``parents``: ids.
    ``is_chosen``: it is looked for.
    """

    id: str
    name: str
    aliases: tuple[str, ...]
    former_names: tuple[str, ...]
    meaning: str
    parents: tuple[str, ...]
    ignore_auto_tag: bool
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class TagTree:
    """All tags of Stash but those that steer the plugin, in the order of their names. ``notes``:
    what a user should know of those that are chosen, such as one that is gone.
    """

    tags: tuple[TreeTag, ...]
    notes: tuple[str, ...]


OPERATIONS: Mapping[str, tuple[type[Any], type[Any]]] = {
    "status": (Nothing, Status),
    "scene": (ItemArguments, ItemEvidence),
    "image": (ItemArguments, ItemEvidence),
    "gallery": (ItemArguments, ItemEvidence),
    "frames": (FramesArguments, Frames),
    "decide": (DecideArguments, ItemEvidence),
    "undo_decision": (UndoArguments, ItemEvidence),
    "settings": (Nothing, SettingsValue),
    "change_settings": (ChangeSettingsArguments, SettingsValue),
    "earlier_settings": (EarlierSettingsArguments, EarlierSettingsValue),
    "undo_settings": (UndoSettingsArguments, SettingsValue),
    "models": (EndpointArguments, Models),
    "check": (CheckArguments, Sections),
    "forecast": (ForecastArguments, Sections),
    "runs": (RunsArguments, RunList),
    "run": (RunArguments, RunReportValue),
    "run_page": (RunArguments, RunPage),
    "preview_undo": (RunItemArguments, UndoPreview),
    "tag_results": (Nothing, TagResults),
    "least_sure": (LeastSureArguments, LeastSure),
    "tag_tree": (Nothing, TagTree),
}
"""Each operation's arguments and value."""
