"""Frozen values read from Stash. Ids are strings, as in GraphQL; times are float seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self, TypeAlias, TypeVar

from haven.items import ItemChange, ItemKind, ItemRef
from haven.stash.errors import StashError

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The result of the handshake. ``settings``: the user's settings of the plugin; keys never set
    are absent. ``libraries``: the folders that Stash scans. ``has_api_key``: the plugin uses the
    user's API key, so that its session does not end.
    """

    version: str
    work_dir: str
    plugins_path: str
    generated_path: str
    max_session_age_s: int
    settings: Mapping[str, Any] = field(repr=False)
    ui: Mapping[str, Any] = field(repr=False)
    libraries: tuple[str, ...] = ()
    has_api_key: bool = False

    @property
    def vr_tag(self) -> str:
        """The name of the tag that marks VR scenes, as the user set it for Stash's player, or
        empty.
        """
        return str(self.ui.get("vrTag") or "").strip()


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag in Stash. ``created_s``: when it was made, by Stash's clock, in seconds since 1970; 0
    if not requested.
    """

    id: str
    name: str
    created_s: float = field(default=0.0, compare=False, repr=False)


def same_making(one_s: float, other_s: float) -> bool:
    """Return True if things made at these times, both by Stash's clock, can be the same. 0 is
    unknown and matches any.

    Stash reuses an id after its database was restored from a backup or begun anew; an id and its
    time of making together identify one thing. Times are compared for equality only, so no clock
    has to be right.
    """
    return not one_s or not other_s or one_s == other_s


def tag_key(name: str) -> str:
    """Return what two spellings of one tag in Stash share. Unlike ``vlm_engine.tag_key`` it keeps
    the blanks inside a name, as Stash does.
    """
    return name.strip().casefold()


@dataclass(frozen=True, slots=True)
class SceneFile:
    """One file of a scene, as Stash scanned it. ``oshash`` is empty if Stash has none."""

    path: str
    size_bytes: int
    duration_s: float
    width: int
    height: int
    oshash: str


@dataclass(frozen=True, slots=True)
class QueuedVideo:
    """The first file of a scene that waits. ``path`` is "" if Stash has no file for it."""

    scene_id: str
    path: str = ""
    size_bytes: int = 0
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Marker:
    """A marker of a scene. ``end_s`` is None for a point in time. ``tag_ids`` leaves the primary
    tag out.

    ``created_s``: when it was made, by Stash's clock; ``tags_created_s``: the same of ``tag_ids``.
    0 and empty if not requested.
    """

    id: str
    title: str
    start_s: float
    end_s: float | None
    primary: Tag
    tag_ids: frozenset[str]
    created_s: float = field(default=0.0, compare=False, repr=False)
    tags_created_s: Mapping[str, float] = field(default_factory=dict, compare=False, repr=False)


class StashItem:
    """The base of scenes, images and galleries."""

    __slots__ = ()
    kind: ClassVar[ItemKind]
    id: str
    tags: tuple[Tag, ...]

    @property
    def tag_ids(self) -> frozenset[str]:
        """The ids of ``tags``."""
        return frozenset(tag.id for tag in self.tags)

    def with_vr(self, vr_tag_ids: Set[str]) -> Self:
        """Return the item, marked as VR if it is a scene that carries one of these tags."""
        return self


@dataclass(frozen=True, slots=True)
class ItemSnapshot:
    """The tags and markers of an item now.

    ``created_s``: when Stash first saw the item, by its own clock, in seconds since 1970.
    ``files``: the fingerprints of its files, the primary one first, as "oshash:…" or "md5:…".
    ``run_mark``: its custom field that names a run, "" without; None if Stash has no such fields.
    """

    ref: ItemRef
    tags: tuple[Tag, ...]
    markers: tuple[Marker, ...] = ()
    created_s: float = 0.0
    files: tuple[str, ...] = ()
    run_mark: str | None = None

    @property
    def file(self) -> str:
        """The fingerprint of its primary file, or ""."""
        return self.files[0] if self.files else ""

    @property
    def tag_ids(self) -> frozenset[str]:
        """The ids of ``tags``."""
        return frozenset(tag.id for tag in self.tags)


@dataclass(frozen=True, slots=True)
class Scene(StashItem):
    """A scene: its files, the primary one first (there may be none), its tags and its markers.

    ``is_vr``: it carries the tag that marks VR scenes for Stash's player.
    """

    kind: ClassVar[ItemKind] = ItemKind.SCENE
    id: str
    title: str
    files: tuple[SceneFile, ...]
    tags: tuple[Tag, ...]
    markers: tuple[Marker, ...]
    is_vr: bool = False

    def with_vr(self, vr_tag_ids: Set[str]) -> Self:
        """Return the scene, marked as VR if it carries one of these tags."""
        return replace(self, is_vr=not vr_tag_ids.isdisjoint(self.tag_ids))

    @property
    def path(self) -> str:
        """The primary file's path as Stash sees it, or empty."""
        return self.files[0].path if self.files else ""

    @property
    def duration_s(self) -> float:
        """The primary file's length in seconds, or 0."""
        return self.files[0].duration_s if self.files else 0.0

    @property
    def oshash(self) -> str:
        """The primary file's oshash, or empty."""
        return self.files[0].oshash if self.files else ""


@dataclass(frozen=True, slots=True)
class Image(StashItem):
    """An image: its primary file, its tags, and the galleries it is in.

    ``path`` is as Stash sees it, empty without a file. Inside a zip file it is ``zip_path``, a
    slash, and ``entry``; otherwise those two are None. ``is_clip``: the file is a video.
    ``duration_s`` is 0 for pictures. ``fingerprint`` identifies the content, as "md5:…"; it is
    empty if Stash has none.
    """

    kind: ClassVar[ItemKind] = ItemKind.IMAGE
    id: str
    title: str
    path: str
    zip_path: str | None
    entry: str | None
    is_clip: bool
    width: int
    height: int
    duration_s: float
    size_bytes: int
    fingerprint: str
    tags: tuple[Tag, ...]
    gallery_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gallery(StashItem):
    """A gallery. ``path``: the folder or zip file that it was made from, empty for one that a
    person put together.
    """

    kind: ClassVar[ItemKind] = ItemKind.GALLERY
    id: str
    title: str
    path: str
    tags: tuple[Tag, ...]
    image_count: int


ItemT = TypeVar("ItemT", bound=StashItem)
ITEM_TYPES: Mapping[ItemKind, type[Scene] | type[Image] | type[Gallery]] = {
    item_type.kind: item_type for item_type in (Scene, Image, Gallery)
}


Fate: TypeAlias = ItemChange | StashError
"""Outcome of one item: its change, or the ``ItemGoneError`` or ``ApplyError`` that prevented
it.
"""


def change_of(fates: Mapping[_Key, Fate]) -> ItemChange:
    """Return the change of the only item among ``fates``, or raise its error."""
    (fate,) = fates.values()
    if isinstance(fate, StashError):
        raise fate
    return fate


@dataclass(frozen=True, slots=True)
class Run:
    """One run in the journal. ``started`` is in seconds since the epoch; ``outcome`` is empty until
    it ends. ``is_undone``: all of it. ``can_be_undone``: it is neither an undoing nor decisions.
    """

    id: int
    task: str
    started: float
    pid: int
    outcome: str
    is_undone: bool = False
    can_be_undone: bool = True

    def __str__(self) -> str:
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.started))
        return f"Run {self.id} ({self.task}, {started})"


@dataclass(frozen=True, slots=True)
class PastChange:
    """One change of an earlier run: its number in the journal, the changed item, and the run."""

    number: int
    item: ItemRef
    run_id: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """The outcome of a plan that a killed run left behind.

    ``finished``: everything it wanted is in Stash by now. ``gone``: the item no longer exists.
    Neither: Stash refused something (``reason``), and the item is still queued. ``markers`` and
    ``tags``: the number that were in Stash without the journal knowing it yet.
    """

    item: ItemRef
    finished: bool
    gone: bool = False
    markers: int = 0
    tags: int = 0
    reason: str = ""
