"""Carrying out one change plan, in an order that can be cut off anywhere without losing or doubling anything.

Missing tags and the new markers are created; tags are added; only then what is obsolete goes: markers, tags, and with the
very last request the tag that queues the scene. When any step failed, nothing is taken away, and the scene stays queued.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from haven_stash.changes import PlannedMarker, PlannedTag
from haven_stash.errors import (
    ApplyError,
    SceneGoneError,
    StashError,
    StashLockedError,
    StashQueryError,
    StashTimeoutError,
    StashUnreachableError,
    TagClashError,
)
from haven_stash.journal import Journal, OpenPlan
from haven_stash.journal.book import TAKING_OFF
from haven_stash.library import read_scene
from haven_stash.markers import batches, create_markers, destroy_markers
from haven_stash.settle import Adopted, adopt, disown_what_changed, left_to_create, note_what_went
from haven_stash.tags import TagBook
from haven_stash.transport import StashClient
from haven_stash.values import Marker, Tag, tag_key

_ROUNDS = 10

_TAG_SCENE = "mutation TagScene($input: BulkSceneUpdateInput!) { bulkSceneUpdate(input: $input) { id } }"


def tag_scene(client: StashClient, scene_id: str, mode: str, tag_ids: Sequence[str]) -> None:
    """Adds or removes tags: ``mode`` is ADD or REMOVE, never SET, which would take away what is not named."""
    client.ask(_TAG_SCENE, {"input": {"ids": [scene_id], "tag_ids": {"mode": mode, "ids": list(tag_ids)}}})


class Writing:
    """One plan on its way into Stash. What goes wrong is gathered, so that the rest is still done."""

    def __init__(self, client: StashClient, tags: TagBook, journal: Journal, opened: OpenPlan) -> None:
        self._client = client
        self._tags = tags
        self._journal = journal
        self._opened = opened
        self._plan = opened.plan
        self._found_since: dict[str, Tag] = {}
        self._causes: list[StashError] = []

    def carry_out(self) -> None:
        """All of a plan that was just opened. Closes it.

        Raises ``SceneGoneError``, or ``ApplyError`` with every cause. The errors of the connection pass through, and the plan
        stays open.
        """
        try:
            self._create_tags(tag for tag in self._planned_tags() if not tag.id)
            self._create_markers(self._plan.create)
            self._finish()
        except SceneGoneError:
            self._journal.close_plan(self._opened, "scene gone")
            raise

    def carry_on(self) -> Adopted:
        """The rest of a plan that was left behind; else as ``carry_out``. Returns what had been written without being noted."""
        try:
            scene = read_scene(self._client, self._plan.scene_id)
            self._find_new_tags()
            adopted = adopt(self._journal, self._opened, scene, self._plan.create)
            note_what_went(self._journal, self._opened, scene)
            disown_what_changed(self._journal, scene)
            self._create_tags(tag for tag in self._planned_tags() if not self._id(tag))
            self._create_markers(left_to_create(self._journal, self._opened, scene))
            self._finish()
        except SceneGoneError:
            self._journal.close_plan(self._opened, "scene gone")
            raise
        return adopted

    def _finish(self) -> None:
        self._add_tags()
        if not self._causes:
            self._take_off()
        if self._causes:
            self._give_up()
        self._journal.close_plan(self._opened, "done")

    def _take_off(self) -> None:
        """What goes, goes last. That it is about to is written down first."""
        if not (self._plan.destroy or self._plan.remove or self._plan.release):
            return
        self._journal.note(self._opened, TAKING_OFF, "begun")
        self._destroy_markers()
        if not self._causes:
            self._remove_tags()

    def _planned_tags(self) -> tuple[PlannedTag, ...]:
        return (*self._plan.add, *(marker.tag for marker in self._plan.create))

    def _id(self, tag: PlannedTag) -> str:
        """The tag's id by the latest look-up; empty where it could not be created."""
        since = self._found_since.get(tag_key(tag.name))
        return since.id if since else tag.id

    def _find_new_tags(self) -> None:
        """Tags that were to be made, and were, before the plan was left behind."""
        names = [tag.name for tag in self._planned_tags() if not tag.id]
        if names:
            found = self._tags.find(names)
            self._found_since |= found
            known = {tag.id for tag in self._journal.new_tags_of_plan(self._opened)}
            made = [tag for tag in found.values() if tag.id not in known and self._tags.looks_made(tag, self._plan.parent)]
            self._journal.new_tags(self._opened, made)

    def _create_tags(self, tags: Iterable[PlannedTag]) -> None:
        for key, name in {tag_key(tag.name): tag.name for tag in tags}.items():
            try:
                tag = self._found_since[key] = self._tags.create(name)
            except (StashQueryError, TagClashError) as error:
                self._fail("create tags", error)
                continue
            # Where the reply to the making was lost, it is found to exist: as new as the other.
            if self._tags.has_made(tag) or self._tags.looks_made(tag, self._plan.parent):
                self._journal.new_tags(self._opened, [tag])

    def _look_up_again(self, tags: Iterable[PlannedTag]) -> None:
        """Somebody deleted or merged a tag meanwhile: each is found again, or created again, once."""
        wanted = tuple(tags)
        found = self._tags.find(tag.name for tag in wanted)
        self._found_since |= found
        missing = [tag for tag in wanted if tag_key(tag.name) not in found and self._id(tag)]
        self._found_since |= {tag_key(tag.name): Tag("", tag.name) for tag in missing}
        self._create_tags(missing)

    def _create_markers(self, planned: Iterable[PlannedMarker]) -> None:
        failed = self._create_round(planned)
        for attempt in range(_ROUNDS - 1):
            # Whatever failed gets a second chance, with its tags looked up again; a locked or restarting Stash gets more.
            if not failed or (attempt and not any(_may_pass(error) for error in failed.values())):
                break
            self._client.pause(attempt)
            failed = self._create_round(self._still_missing(failed))
        for error in {str(error): error for error in failed.values()}.values():
            self._fail("create markers", error)

    def _create_round(self, planned: Iterable[PlannedMarker]) -> dict[PlannedMarker, StashError]:
        """Creates what has a tag. Returns what is not known to exist now, with the reason."""
        ready = [replace(marker, tag=replace(marker.tag, id=self._id(marker.tag))) for marker in planned if self._id(marker.tag)]
        failed: dict[PlannedMarker, StashError] = {}
        broken: StashUnreachableError | None = None
        for batch in batches(ready):
            if broken:
                failed |= dict.fromkeys(batch, broken)
                continue
            try:
                creation = create_markers(self._client, self._plan.scene_id, batch)
            except (StashUnreachableError, StashQueryError) as error:
                broken = error if isinstance(error, StashUnreachableError) else None
                failed |= dict.fromkeys(batch, error)
                continue
            failed |= dict(creation.failed)
            if creation.created:
                self._journal.markers_created(self._opened, creation.created)
        return failed

    def _still_missing(self, failed: Iterable[PlannedMarker]) -> list[PlannedMarker]:
        """A marker reported as failed may exist all the same: the scene is read again rather than guessed at."""
        scene = read_scene(self._client, self._plan.scene_id)
        exist = adopt(self._journal, self._opened, scene, failed).markers
        missing = [marker for marker in failed if marker not in exist]
        self._look_up_again(marker.tag for marker in missing)
        return missing

    def _add_tags(self) -> None:
        if not self._tags_to_add():
            return
        try:
            tag_scene(self._client, self._plan.scene_id, "ADD", list(self._tags_to_add()))
        except StashLockedError as error:
            self._fail("add tags", error)
            return
        except StashQueryError:
            # Stash refuses all of them when one was deleted meanwhile.
            self._look_up_again(self._plan.add)
            try:
                tag_scene(self._client, self._plan.scene_id, "ADD", list(self._tags_to_add()))
            except StashQueryError as error:
                self._fail("add tags", error)
                return
        own = self._journal.ours(self._plan.scene_id).tag_ids
        self._journal.tags_added(self._opened, [tag for tag in self._tags_to_add().values() if tag.id not in own])

    def _tags_to_add(self) -> dict[str, Tag]:
        """By their ids. The tag that says that all went well is not among them when it did not."""
        tags = [tag for tag in self._plan.add if not (self._causes and tag.id == self._plan.tagged_id)]
        by_id = {self._id(tag): Tag(self._id(tag), tag.name) for tag in tags}
        return {tag_id: tag for tag_id, tag in by_id.items() if tag_id and tag_id not in self._plan.before_tag_ids}

    def _destroy_markers(self) -> None:
        if not self._plan.destroy:
            return
        wanted = self._still_to_destroy()
        try:
            try:
                destroy_markers(self._client, wanted)
            except StashLockedError:
                raise
            except StashQueryError:
                # Stash refuses all of them when one is gone: somebody destroyed it meanwhile, or an earlier try of ours did.
                changed = self._changed_by_people()
                wanted = [marker_id for marker_id in wanted if marker_id not in changed]
                destroy_markers(self._client, self._still_to_destroy())
        except StashQueryError as error:
            self._fail("destroy markers", error)
        else:
            self._journal.markers_taken_off(self._opened, wanted)

    def _still_to_destroy(self) -> list[str]:
        """What people changed since is theirs."""
        now = self._markers_now()
        return [record.id for record in self._plan.destroy if record.id in now and record.is_untouched(now[record.id])]

    def _changed_by_people(self) -> set[str]:
        now = self._markers_now()
        return {record.id for record in self._plan.destroy if record.id in now and not record.is_untouched(now[record.id])}

    def _markers_now(self) -> dict[str, Marker]:
        return {marker.id: marker for marker in read_scene(self._client, self._plan.scene_id).markers}

    def _remove_tags(self) -> None:
        tags = (*self._plan.remove, *self._plan.release)
        try:
            if tags:
                tag_scene(self._client, self._plan.scene_id, "REMOVE", [tag.id for tag in tags])
        except StashQueryError as error:
            self._fail("remove tags", error)
            return
        self._journal.tags_taken_off(self._opened, tags)

    def _fail(self, step: str, error: StashError) -> None:
        self._causes.append(error)
        self._journal.note(self._opened, step, str(error))

    def _give_up(self) -> None:
        """Closes the plan with the journal knowing what of it is in Stash, and raises what went wrong."""
        scene = read_scene(self._client, self._plan.scene_id)
        adopt(self._journal, self._opened, scene, self._plan.create)
        note_what_went(self._journal, self._opened, scene)
        disown_what_changed(self._journal, scene)
        self._journal.close_plan(self._opened, "failed")
        what, so = ("results", "it stays queued") if self._plan.queue_tag_id else ("changes", "start the task again")
        raise ApplyError(f"the {what} of scene {scene.id} are not wholly in Stash, so {so}", self._causes)


def _may_pass(error: StashError) -> bool:
    return isinstance(error, StashLockedError | StashUnreachableError) and not isinstance(error, StashTimeoutError)
