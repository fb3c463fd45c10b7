"""What is read from Stash, as frozen values. Ids are strings, as GraphQL has them; times are float seconds."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self, TypeAlias, TypeVar

from haven.items import ItemChange, ItemKind, ItemRef
from haven.stash.errors import StashError

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What the handshake told. ``settings``: what the user set for the plugin; keys never set are absent."""

    version: str
    work_dir: str
    plugins_path: str
    generated_path: str
    max_session_age_s: int
    settings: Mapping[str, Any] = field(repr=False)
    ui: Mapping[str, Any] = field(repr=False)

    @property
    def vr_tag(self) -> str:
        """The name of the tag that marks VR scenes, as the user set it for Stash's player, or empty."""
        return str(self.ui.get("vrTag") or "").strip()


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag that is in Stash. ``created_s``: when it was made, by Stash's clock, in seconds since 1970; 0 where not asked."""

    id: str
    name: str
    created_s: float = field(default=0.0, compare=False, repr=False)


def same_making(one_s: float, other_s: float) -> bool:
    """Whether what was made at these times, both by Stash's clock, can be the same thing. 0 is not known, and goes with any.

    Stash gives a number out again when its database is put back from a backup or begun anew; a number and the time of its
    making together mean one thing. They are compared for equality only, so no clock has to be right.
    """
    return not one_s or not other_s or one_s == other_s


def tag_key(name: str) -> str:
    """Return what two spellings of one tag in Stash share. Unlike ``vlm_engine.tag_key`` it keeps the blanks inside a name, as Stash does."""
    return name.strip().casefold()


class Item(Protocol):
    """A scene, an image or a gallery as it is in Stash: what a change of it is planned from."""

    @property
    def ref(self) -> ItemRef:
        """Which one it is."""

    @property
    def tags(self) -> tuple[Tag, ...]:
        """Its tags."""

    @property
    def tag_ids(self) -> frozenset[str]:
        """The ids of ``tags``."""

    @property
    def markers(self) -> tuple[Marker, ...]:
        """Its markers, which only scenes have."""


@dataclass(frozen=True, slots=True)
class SceneFile:
    """One file of a scene, as Stash's scan saw it. ``oshash`` is empty where Stash has none."""

    path: str
    size_bytes: int
    duration_s: float
    width: int
    height: int
    oshash: str


@dataclass(frozen=True, slots=True)
class Marker:
    """A marker of a scene. ``end_s`` is None for a point in time. ``tag_ids`` leaves the primary tag out.

    ``created_s``: when it was made, by Stash's clock; ``tags_created_s``: the same of ``tag_ids``. 0 and nothing where not asked.
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
    """What follows from an item's kind, id and tags."""

    __slots__ = ()
    kind: ClassVar[ItemKind]
    id: str
    tags: tuple[Tag, ...]

    @property
    def ref(self) -> ItemRef:
        """Which one it is."""
        return ItemRef(self.kind, self.id)

    @property
    def tag_ids(self) -> frozenset[str]:
        """The ids of ``tags``."""
        return frozenset(tag.id for tag in self.tags)

    def with_vr(self, vr_tag_ids: Set[str]) -> Self:
        """Return the item, marked as VR if it is a scene that carries one of these tags."""
        return self


@dataclass(frozen=True, slots=True)
class ItemSnapshot:
    """What an item carries now, and nothing else of it: an ``Item`` for whoever only changes that.

    ``created_s``: when Stash got to know the item, by its own clock, in seconds since 1970.
    """

    ref: ItemRef
    tags: tuple[Tag, ...]
    markers: tuple[Marker, ...] = ()
    created_s: float = 0.0

    @property
    def tag_ids(self) -> frozenset[str]:
        """The ids of ``tags``."""
        return frozenset(tag.id for tag in self.tags)


class _Unmarked(StashItem):
    """An item of a kind that has no markers."""

    __slots__ = ()

    @property
    def markers(self) -> tuple[Marker, ...]:
        """None."""
        return ()


@dataclass(frozen=True, slots=True)
class Scene(StashItem):
    """A scene: its files, the primary one first (there may be none), its tags and its markers.

    ``is_vr``: it carries the tag by which Stash's player knows VR scenes.
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
class Image(_Unmarked):
    """An image: what its primary file is and where, its tags, and the galleries it is in.

    ``path`` is as Stash sees it, empty without a file. Inside a zip file it is ``zip_path``, a slash, and ``entry``; else those
    two are None. ``is_clip``: the file is a video; ``duration_s`` is 0 for pictures. ``fingerprint`` names the content, as
    "md5:…"; it is empty where Stash has none.
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
class Gallery(_Unmarked):
    """A gallery. ``path``: the folder or zip file that it was made of, empty for one that a person put together."""

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
"""What became of one item: its change, or the ``ItemGoneError`` or ``ApplyError`` that prevented it."""


def change_of(fates: Mapping[_Key, Fate]) -> ItemChange:
    """Return the change of the only item among ``fates``, or raise its error."""
    (fate,) = fates.values()
    if isinstance(fate, StashError):
        raise fate
    return fate


@dataclass(frozen=True, slots=True)
class Run:
    """One run in the journal. ``started`` is in seconds since the epoch; ``outcome`` is empty until it came to an end."""

    id: int
    task: str
    started: float
    pid: int
    outcome: str


@dataclass(frozen=True, slots=True)
class PastChange:
    """One change of an earlier run: its number in the journal, and what was changed."""

    number: int
    item: ItemRef


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of a plan that a killed run left behind.

    ``finished``: everything it wanted is in Stash by now. ``gone``: the item is no longer there. Neither: Stash refused
    something (``reason``), and the item is still in line. ``markers`` and ``tags``: how many of ours were in Stash
    without the journal knowing it yet.
    """

    item: ItemRef
    finished: bool
    gone: bool = False
    markers: int = 0
    tags: int = 0
    reason: str = ""
