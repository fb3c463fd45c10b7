"""Writing one scene's results, in an order that can be cut off anywhere without losing or doubling anything.

The plan goes to the journal; missing tags and the new markers are created; tags are added; only then what
is obsolete goes: markers, tags, and with the very last request the tag that queues the scene. When any
step failed, nothing is taken away, and the scene stays queued.
"""

from __future__ import annotations

import logging
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
from haven_stash.library import read_scene
from haven_stash.markers import batches, create_markers, destroy_markers
from haven_stash.plan import PlanOptions, control_names, names_to_find, plan_scene
from haven_stash.settle import adopt, disown_what_changed, recover
from haven_stash.tags import TagBook
from haven_stash.transport import StashClient
from haven_stash.values import Applied, tag_key
from vlm_engine.types import VideoTagInfo

_log = logging.getLogger(__name__)
_ROUNDS = 10

_TAG_SCENE = "mutation TagScene($input: BulkSceneUpdateInput!) { bulkSceneUpdate(input: $input) { id } }"


class SceneWriter:
    """Writes results into Stash by way of the journal. Blocking; one caller at a time."""

    def __init__(self, client: StashClient, tags: TagBook, journal: Journal) -> None:
        self._client = client
        self._tags = tags
        self._journal = journal

    def apply(self, run_id: int, scene_id: str, info: VideoTagInfo, options: PlanOptions) -> Applied:
        """Brings the scene, as it is now, to what ``info`` says, and takes it off the queue.

        Raises ``SceneGoneError``, or ``ApplyError`` with every cause; then the scene is still queued. The
        errors of the connection pass through, and the plan stays open in the journal.
        """
        for left_open in self._journal.unfinished(scene_id):
            recover(self._client, self._journal, left_open)
        opened = self._open_plan(run_id, scene_id, info, options)
        return _Writing(self._client, self._tags, self._journal, opened).carry_out()

    def mark_failed(self, run_id: int, scene_id: str, errored: str, reason: str) -> None:
        """Adds the tag ``errored`` to the scene, which stays queued. A scene that has vanished is only noted."""
        self._journal.note_failure(run_id, scene_id, reason)
        tag_ids = [tag.id for tag in self._tags.ensure([errored]).values()]
        try:
            tag_scene(self._client, scene_id, "ADD", tag_ids)
        except StashQueryError:
            try:
                read_scene(self._client, scene_id)
            except SceneGoneError as gone:
                _log.info("%s", gone)
                return
            raise

    def _open_plan(self, run_id: int, scene_id: str, info: VideoTagInfo, options: PlanOptions) -> OpenPlan:
        control = control_names(options.names)
        known = self._tags.find([*control, *names_to_find(info)])
        for name in control:
            if tag_key(name) not in known:
                known[tag_key(name)] = self._tags.create(name)
        scene = read_scene(self._client, scene_id)
        disown_what_changed(self._journal, scene)
        return self._journal.open_plan(run_id, plan_scene(scene, info, self._journal.ours(scene_id), known, options))


def tag_scene(client: StashClient, scene_id: str, mode: str, tag_ids: Sequence[str]) -> None:
    """Adds or removes tags: ``mode`` is ADD or REMOVE, never SET, which would take away what is not named."""
    client.ask(_TAG_SCENE, {"input": {"ids": [scene_id], "tag_ids": {"mode": mode, "ids": list(tag_ids)}}})


class _Writing:
    """One plan on its way into Stash. What goes wrong is gathered, so that the rest is still done."""

    def __init__(self, client: StashClient, tags: TagBook, journal: Journal, opened: OpenPlan) -> None:
        self._client = client
        self._tags = tags
        self._journal = journal
        self._opened = opened
        self._plan = opened.plan
        self._found_since: dict[str, str] = {}
        self._causes: list[StashError] = []

    def carry_out(self) -> Applied:
        try:
            self._create_tags(tag for tag in self._planned_tags() if not tag.id)
            self._create_markers()
            self._add_tags()
            if not self._causes:
                self._destroy_markers()
            if not self._causes:
                self._remove_tags()
            if self._causes:
                self._give_up()
        except SceneGoneError:
            self._journal.close_plan(self._opened, "scene gone")
            raise
        self._journal.close_plan(self._opened, "done")
        return self._summary()

    def _summary(self) -> Applied:
        plan = self._plan
        return Applied(
            scene_id=plan.scene_id,
            tags_added=tuple(tag.name for tag in plan.add if tag.id != plan.tagged_id),
            tags_removed=tuple(tag.name for tag in plan.remove),
            markers_created=len(plan.create),
            markers_removed=len(plan.destroy),
            markers_kept=len(plan.kept),
        )

    def _planned_tags(self) -> tuple[PlannedTag, ...]:
        return (*self._plan.add, *(marker.tag for marker in self._plan.create))

    def _id(self, tag: PlannedTag) -> str:
        """The tag's id by the latest look-up; empty where it could not be created."""
        return self._found_since.get(tag_key(tag.name), tag.id)

    def _create_tags(self, tags: Iterable[PlannedTag]) -> None:
        for key, name in {tag_key(tag.name): tag.name for tag in tags}.items():
            try:
                self._found_since[key] = self._tags.create(name).id
            except (StashQueryError, TagClashError) as error:
                self._fail("create tags", error)

    def _look_up_again(self, tags: Iterable[PlannedTag]) -> None:
        """Somebody deleted or merged a tag meanwhile: each is found again, or created again, once."""
        wanted = tuple(tags)
        found = self._tags.find(tag.name for tag in wanted)
        self._found_since |= {key: tag.id for key, tag in found.items()}
        missing = [tag for tag in wanted if tag_key(tag.name) not in found and self._id(tag)]
        self._found_since |= {tag_key(tag.name): "" for tag in missing}
        self._create_tags(missing)

    def _create_markers(self) -> None:
        failed = self._create_round(self._plan.create)
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
                creation = create_markers(self._client, self._plan.scene_id, self._plan.parent.id, batch)
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
            tag_scene(self._client, self._plan.scene_id, "ADD", self._tags_to_add())
        except StashLockedError as error:
            self._fail("add tags", error)
            return
        except StashQueryError:
            # Stash refuses all of them when one was deleted meanwhile.
            self._look_up_again(self._plan.add)
            try:
                tag_scene(self._client, self._plan.scene_id, "ADD", self._tags_to_add())
            except StashQueryError as error:
                self._fail("add tags", error)
                return
        self._journal.tags_added(self._opened, self._tags_to_add())

    def _tags_to_add(self) -> tuple[str, ...]:
        """The tag that says that all went well is not among them when it did not."""
        tags = [tag for tag in self._plan.add if not (self._causes and tag.id == self._plan.tagged_id)]
        ids = dict.fromkeys(self._id(tag) for tag in tags)
        return tuple(tag_id for tag_id in ids if tag_id and tag_id not in self._plan.before_tag_ids)

    def _destroy_markers(self) -> None:
        ids = [record.id for record in self._plan.destroy]
        try:
            try:
                destroy_markers(self._client, ids)
            except StashLockedError:
                raise
            except StashQueryError:
                # Stash refuses all of them when somebody destroyed one meanwhile.
                destroy_markers(self._client, self._still_to_destroy())
        except StashQueryError as error:
            self._fail("destroy markers", error)
        else:
            self._journal.disown(self._plan.scene_id, marker_ids=ids)

    def _still_to_destroy(self) -> list[str]:
        now = {marker.id: marker for marker in read_scene(self._client, self._plan.scene_id).markers}
        return [record.id for record in self._plan.destroy if record.id in now and record.is_untouched(now[record.id])]

    def _remove_tags(self) -> None:
        tags = (*self._plan.remove, *self._plan.release)
        try:
            if tags:
                tag_scene(self._client, self._plan.scene_id, "REMOVE", [tag.id for tag in tags])
        except StashQueryError as error:
            self._fail("remove tags", error)
            return
        self._journal.disown(self._plan.scene_id, tag_ids=[tag.id for tag in self._plan.remove])

    def _fail(self, step: str, error: StashError) -> None:
        self._causes.append(error)
        self._journal.note(self._opened, step, str(error))

    def _give_up(self) -> None:
        """Closes the plan with the journal knowing what of it is in Stash, and raises what went wrong."""
        scene = read_scene(self._client, self._plan.scene_id)
        adopt(self._journal, self._opened, scene, self._plan.create)
        disown_what_changed(self._journal, scene)
        self._journal.close_plan(self._opened, "failed")
        raise ApplyError(f"the results of scene {scene.id} are not wholly in Stash, so it stays queued", self._causes)


def _may_pass(error: StashError) -> bool:
    return isinstance(error, StashLockedError | StashUnreachableError) and not isinstance(error, StashTimeoutError)
