"""The library as a test or demo sees it: puts things in, takes them out, looks at what is there.

Every call may come from any thread, also while the server is answering.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.stash_server import marker_rules, media, tag_rules
from sandbox.stash_server.database import Database, Row
from sandbox.stash_server.filters import GALLERY, IMAGE, MARKER, SCENE, TAG, Kind, fetch_all
from sandbox.stash_server.writes import custom_fields, edit_links, set_custom_fields

Id = str | int


@dataclass(frozen=True)
class TagState:
    """A tag; ``parents`` are names."""

    id: str
    name: str
    description: str
    aliases: tuple[str, ...]
    ignore_auto_tag: bool
    parents: tuple[str, ...]


@dataclass(frozen=True)
class MarkerState:
    """A marker; tags are names, times are seconds."""

    id: str
    title: str
    seconds: float
    end_seconds: float | None
    primary_tag: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class ItemState:
    """A scene, image or gallery; tags are names in alphabetical order, markers stand in order of
    time.
    """

    id: str
    title: str
    tags: tuple[str, ...]
    markers: tuple[MarkerState, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """Everything in the library, in order of id. Two are equal when nothing changed in between."""

    tags: tuple[TagState, ...]
    scenes: tuple[ItemState, ...]
    images: tuple[ItemState, ...]
    galleries: tuple[ItemState, ...]


class Library:
    """Tags, scenes, markers, images and galleries.

    Tags are given by name and made when there is none of exactly that name. Ids are strings, as in
    GraphQL; integers are taken too. What the server would refuse raises ``RefusedError`` here as
    well. ``shown_as``: {folder here: the folder the server says it is in}, for a server that sees
    other paths.
    """

    def __init__(self, database: Database, shown_as: Mapping[str, str] | None = None) -> None:
        self._database = database
        self._shown_as = dict(shown_as or {})

    def add_tag(
        self,
        name: str,
        *,
        aliases: Iterable[str] = (),
        description: str = "",
        ignore_auto_tag: bool = False,
        parents: Iterable[str] = (),
    ) -> str:
        """Make a tag and return its id."""
        fields = {
            "name": name,
            "aliases": list(aliases),
            "description": description,
            "ignore_auto_tag": ignore_auto_tag,
            "parent_ids": self._tag_ids(parents),
        }
        return str(tag_rules.create_tag(self._database, fields))

    def tag_id(self, name: str) -> str:
        """Return the id of the tag of exactly that name; the tag is made when there is none."""
        with self._database.transaction():
            row = self._database.row("SELECT id FROM tags WHERE name = ?", name)
            return str(row["id"]) if row else self.add_tag(name)

    def rename_tag(self, name: str, new_name: str) -> None:
        """Give the tag of exactly that name another one."""
        tag_rules.update_tag(self._database, {"id": self.tag_id(name), "name": new_name})

    def add_alias(self, name: str, alias: str) -> None:
        """Give the tag of exactly that name one more alias."""
        tag = self.tag_id(name)
        aliases = self._database.values("SELECT alias FROM tag_aliases WHERE tag_id = ?", tag)
        fields = {"id": tag, "aliases": [*aliases, alias]}
        tag_rules.update_tag(self._database, fields)

    def remove_tag(self, name: str) -> None:
        """Remove the tag of exactly that name from everything.

        It must not be a marker's primary tag.
        """
        with self._database.transaction():
            for tag_id in self._database.values("SELECT id FROM tags WHERE name = ?", name) or [0]:
                tag_rules.destroy_tag(self._database, tag_id)

    def merge_tag(self, source: str, into: str) -> None:
        """Merge the tag of exactly that name into another, as a person does."""
        tag_rules.merge_tag(self._database, self.tag_id(source), self.tag_id(into))

    def add_scene(self, *paths: Path, title: str = "", tags: Iterable[str] = ()) -> str:
        """Add a scene of one or more video files, which are read now; the first is the primary one.

        Returns its id.
        """
        files = [(path, media.video_facts(path), None) for path in paths]
        return self._add_item(SCENE, title, tags, files)

    def add_copies(self, scene: str, count: int) -> None:
        """Add a number of scenes with the title and the files of this one, and without tags."""
        now = self._database.now()
        with self._database.transaction():
            for _ in range(count):
                copy = self._database.write(
                    "INSERT INTO scenes (title, created_at, updated_at) "
                    "SELECT title, ?, ? FROM scenes WHERE id = ?",
                    *(now, now, int(scene)),
                )
                self._database.write(
                    "INSERT INTO scenes_files (scene_id, file_id) "
                    "SELECT ?, file_id FROM scenes_files WHERE scene_id = ?",
                    *(copy, int(scene)),
                )

    def add_image(
        self,
        path: Path | None = None,
        *,
        entry: str | None = None,
        title: str = "",
        tags: Iterable[str] = (),
    ) -> str:
        """Add a picture, a clip (a video file), or the picture ``entry`` of the zip file ``path``.

        Returns its id.

        Without a path it is an image whose file somebody has deleted.
        """
        if path is None:
            return self._add_item(IMAGE, title, tags, [])
        facts = media.clip_facts(path) if media.is_video(path) else media.picture_facts(path, entry)
        return self._add_item(IMAGE, title, tags, [(path, facts, entry)])

    def add_thumbnail(self, image: Id, content: bytes) -> None:
        """Give an image the thumbnail that a server makes which can show more kinds of pictures
        than this one.
        """
        self._database.insert("thumbnails", image_id=int(image), content=content)

    def add_gallery(
        self,
        title: str = "",
        *,
        images: Iterable[Id] = (),
        tags: Iterable[str] = (),
        path: Path | None = None,
    ) -> str:
        """Add a gallery of images, made of the folder or zip file ``path`` or put together by a
        person. Returns its id.
        """
        with self._database.transaction():
            gallery = self._add_item(GALLERY, title, tags, [])
            link = ("galleries_images", "gallery_id", "image_id")
            edit_links(self._database, link, int(gallery), [int(image) for image in images], "SET")
            if path is not None and path.is_file():
                zip_id = self._zip_file(path, self._shown(path))
                edit_links(
                    self._database,
                    ("galleries_files", "gallery_id", "file_id"),
                    int(gallery),
                    [zip_id],
                    "SET",
                )
            elif path is not None:
                self._database.write(
                    "UPDATE galleries SET folder = ? WHERE id = ?", self._shown(path), int(gallery)
                )
        return gallery

    def scan_gallery(
        self, path: Path, *, tags: Iterable[str] = (), image_tags: Iterable[str] = ()
    ) -> tuple[str, list[str]]:
        """Add what scanning a folder or zip file of pictures makes: its images and a gallery of
        them. Returns the ids.
        """
        with self._database.transaction():
            image_tags = tuple(image_tags)
            images = [
                self._add_item(IMAGE, "", image_tags, [file]) for file in media.pictures_in(path)
            ]
            return self.add_gallery(images=images, tags=tags, path=path), images

    def add_marker(
        self,
        scene: Id,
        primary_tag: str,
        seconds: float,
        end_seconds: float | None = None,
        *,
        title: str | None = None,
        tags: Iterable[str] = (),
    ) -> str:
        """Add a marker to a scene and return its id. Its title is its primary tag unless given."""
        fields = {
            "title": primary_tag if title is None else title,
            "seconds": seconds,
            "end_seconds": end_seconds,
            "scene_id": scene,
            "primary_tag_id": self.tag_id(primary_tag),
            "tag_ids": self._tag_ids(tags),
        }
        return str(marker_rules.create_marker(self._database, fields))

    def edit_marker(self, marker: Id, **changes: object) -> None:
        """Change a marker as a person would: ``title``, ``seconds``, ``end_seconds``,
        ``primary_tag``, ``tags``.
        """
        fields = {"id": marker, **changes}
        if "primary_tag" in fields:
            fields["primary_tag_id"] = self.tag_id(str(fields.pop("primary_tag")))
        tags = fields.pop("tags", None)
        if isinstance(tags, Iterable):
            fields["tag_ids"] = self._tag_ids(tags)
        marker_rules.update_marker(self._database, fields)

    def remove_marker(self, marker: Id) -> None:
        """Remove a marker."""
        marker_rules.destroy_markers(self._database, [marker])

    def markers_with_previews(self) -> set[str]:
        """Return the ids of the markers of which the server made previews."""
        return set(map(str, self._database.values("SELECT marker_id FROM marker_previews")))

    def custom_fields(self, scene: Id) -> dict[str, Any]:
        """Return the custom fields of a scene."""
        return custom_fields(self._database, SCENE, int(scene))

    def set_custom_fields(self, scene: Id, **fields: object) -> None:
        """Fill custom fields of a scene, as a person does."""
        set_custom_fields(self._database, SCENE, int(scene), {"partial": fields})

    def tag_scene(self, scene: Id, *tags: str) -> None:
        """Give a scene more tags."""
        self._retag(SCENE, scene, tags, "ADD")

    def untag_scene(self, scene: Id, *tags: str) -> None:
        """Take tags from a scene."""
        self._retag(SCENE, scene, tags, "REMOVE")

    def tag_image(self, image: Id, *tags: str) -> None:
        """Give an image more tags."""
        self._retag(IMAGE, image, tags, "ADD")

    def untag_image(self, image: Id, *tags: str) -> None:
        """Take tags from an image."""
        self._retag(IMAGE, image, tags, "REMOVE")

    def tag_gallery(self, gallery: Id, *tags: str) -> None:
        """Give a gallery more tags."""
        self._retag(GALLERY, gallery, tags, "ADD")

    def untag_gallery(self, gallery: Id, *tags: str) -> None:
        """Take tags from a gallery."""
        self._retag(GALLERY, gallery, tags, "REMOVE")

    def remove_scene(self, scene: Id) -> None:
        """Remove a scene with its markers and its files' entries; the files themselves stay."""
        self._remove(SCENE, scene)

    def remove_image(self, image: Id) -> None:
        """Remove an image with its files' entries; the files themselves stay."""
        self._remove(IMAGE, image)

    def remove_gallery(self, gallery: Id) -> None:
        """Remove a gallery; its images stay."""
        with self._database.transaction():
            fetch_all(self._database, GALLERY, [gallery])
            self._database.write("DELETE FROM galleries WHERE id = ?", int(gallery))

    def merge_scene(self, source: Id, into: Id) -> None:
        """Merge a scene into another, as a person does: its files and markers go there, and it is
        gone; its tags are lost.
        """
        with self._database.transaction():
            fetch_all(self._database, SCENE, [source, into])
            self._database.write(
                "UPDATE scene_markers SET scene_id = ? WHERE scene_id = ?", int(into), int(source)
            )
            self._database.write(
                "UPDATE scenes_files SET scene_id = ? WHERE scene_id = ?", int(into), int(source)
            )
            self._database.write("DELETE FROM scenes WHERE id = ?", int(source))

    def rename_file(self, path: str, new_path: str) -> None:
        """Say that a file lies elsewhere, or is called otherwise, than it was.

        Paths are as the server shows them.
        """
        self._database.write("UPDATE files SET path = ? WHERE path = ?", new_path, path)

    def scene_state(self, scene: Id) -> ItemState:
        """One scene as it is now. ``RefusedError``: there is none of that id."""
        with self._database.transaction():
            return self._item_state(SCENE, fetch_all(self._database, SCENE, [scene])[0])

    def image_state(self, image: Id) -> ItemState:
        """One image as it is now. ``RefusedError``: there is none of that id."""
        with self._database.transaction():
            return self._item_state(IMAGE, fetch_all(self._database, IMAGE, [image])[0])

    def gallery_state(self, gallery: Id) -> ItemState:
        """One gallery as it is now. ``RefusedError``: there is none of that id."""
        with self._database.transaction():
            return self._item_state(GALLERY, fetch_all(self._database, GALLERY, [gallery])[0])

    def set_clock(self, ahead_s: float) -> None:
        """The server's clock is so far ahead of this machine's from now on, or behind it."""
        self._database.ahead_s = ahead_s

    def saved(self) -> bytes:
        """Return a backup."""
        return self._database.saved()

    def restore(self, backup: bytes) -> None:
        """Everything is as it was when that backup was made; numbers given out since are given out
        again.
        """
        self._database.restore(backup)

    def snapshot(self) -> Snapshot:
        """Everything as it is now."""
        with self._database.transaction():
            return Snapshot(
                tags=tuple(self._tag_state(row) for row in self._all(TAG)),
                scenes=tuple(self._item_state(SCENE, row) for row in self._all(SCENE)),
                images=tuple(self._item_state(IMAGE, row) for row in self._all(IMAGE)),
                galleries=tuple(self._item_state(GALLERY, row) for row in self._all(GALLERY)),
            )

    def _all(self, kind: Kind) -> list[Row]:
        return self._database.rows(f"SELECT * FROM {kind.table} ORDER BY id")

    def _tag_ids(self, names: Iterable[object]) -> list[str]:
        return [self.tag_id(str(name)) for name in names]

    def _retag(self, kind: Kind, item: Id, tags: Iterable[str], mode: str) -> None:
        with self._database.transaction():
            fetch_all(self._database, kind, [item])
            ids = [int(tag) for tag in self._tag_ids(tags)]
            edit_links(
                self._database,
                (f"{kind.table}_tags", f"{kind.noun}_id", "tag_id"),
                int(item),
                ids,
                mode,
            )

    def _remove(self, kind: Kind, item: Id) -> None:
        with self._database.transaction():
            fetch_all(self._database, kind, [item])
            files = f"SELECT file_id FROM {kind.table}_files WHERE {kind.noun}_id = ?"
            self._database.write(f"DELETE FROM files WHERE id IN ({files})", int(item))
            self._database.write(f"DELETE FROM {kind.table} WHERE id = ?", int(item))

    def _add_item(
        self,
        kind: Kind,
        title: str,
        tags: Iterable[str],
        files: Iterable[tuple[Path, media.FileFacts, str | None]],
    ) -> str:
        with self._database.transaction():
            now = self._database.now()
            row_id = self._database.insert(kind.table, title=title, created_at=now, updated_at=now)
            owner_id = f"{kind.noun}_id"
            tag_ids = [int(tag) for tag in self._tag_ids(tags)]
            edit_links(
                self._database, (f"{kind.table}_tags", owner_id, "tag_id"), row_id, tag_ids, "SET"
            )
            for path, facts, entry in files:
                file_id = self._add_file(path, facts, entry)
                edit_links(
                    self._database,
                    (f"{kind.table}_files", owner_id, "file_id"),
                    row_id,
                    [file_id],
                    "ADD",
                )
        return str(row_id)

    def _add_file(self, path: Path, facts: media.FileFacts, entry: str | None) -> int:
        columns = {name: value for name, value in vars(facts).items() if name != "fingerprint"}
        shown_path, zip_id = self._shown(path), None
        if entry is not None:
            zip_id = self._zip_file(path, shown_path)
            shown_path = f"{shown_path}/{entry}"
        file_id = self._database.insert(
            "files", path=shown_path, source=str(path), zip_file_id=zip_id, **columns
        )
        kind, value = facts.fingerprint
        self._database.insert("fingerprints", file_id=file_id, type=kind, value=value)
        return file_id

    def _zip_file(self, path: Path, shown_path: str) -> int:
        row = self._database.row("SELECT id FROM files WHERE path = ?", shown_path)
        return (
            int(row["id"])
            if row
            else self._database.insert("files", kind="BasicFile", path=shown_path, source=str(path))
        )

    def _shown(self, path: Path) -> str:
        for here, there in self._shown_as.items():
            if path.is_relative_to(here):
                return str(Path(there) / path.relative_to(here))
        return str(path)

    def _tag_state(self, row: Row) -> TagState:
        names = self._database.values
        parents = (
            "SELECT name FROM tags JOIN tags_relations ON parent_id = id WHERE child_id = ? ORDER "
            "BY name"
        )
        return TagState(
            id=str(row["id"]),
            name=row["name"],
            description=row["description"],
            aliases=tuple(names("SELECT alias FROM tag_aliases WHERE tag_id = ?", row["id"])),
            ignore_auto_tag=bool(row["ignore_auto_tag"]),
            parents=tuple(names(parents, row["id"])),
        )

    def _tag_names(self, kind: Kind, owner_id: str, row_id: int) -> tuple[str, ...]:
        sql = (
            f"SELECT name FROM tags JOIN {kind.table}_tags ON tag_id = id WHERE {owner_id} = ? "
            "ORDER BY name"
        )
        return tuple(self._database.values(sql, row_id))

    def _item_state(self, kind: Kind, row: Row) -> ItemState:
        markers = self._database.rows(
            "SELECT * FROM scene_markers WHERE scene_id = ? ORDER BY seconds, id", row["id"]
        )
        return ItemState(
            id=str(row["id"]),
            title=row["title"],
            tags=self._tag_names(kind, f"{kind.noun}_id", row["id"]),
            markers=tuple(self._marker_state(marker) for marker in markers)
            if kind is SCENE
            else (),
        )

    def _marker_state(self, row: Row) -> MarkerState:
        return MarkerState(
            id=str(row["id"]),
            title=row["title"],
            seconds=row["seconds"],
            end_seconds=row["end_seconds"],
            primary_tag=self._database.values(
                "SELECT name FROM tags WHERE id = ?", row["primary_tag_id"]
            )[0],
            tags=self._tag_names(MARKER, "scene_marker_id", row["id"]),
        )
