"""Changing one scene: results written, everything of ours removed, or an earlier change taken back. Always by way of a plan."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from haven_stash.changes import ChangePlan
from haven_stash.errors import ApplyError, SceneGoneError, StashQueryError
from haven_stash.journal import Journal, OpenPlan
from haven_stash.library import read_scene
from haven_stash.plan import PlanOptions, control_names, names_to_find, plan_addition, plan_removal, plan_scene
from haven_stash.settle import disown_what_changed
from haven_stash.tags import TagBook
from haven_stash.transport import StashClient
from haven_stash.undo import plan_undo
from haven_stash.values import Recovered, Scene, SceneChange, Tag, tag_key
from haven_stash.writing import Writing
from vlm_engine.types import VideoTagInfo

_log = logging.getLogger(__name__)
Planner = Callable[[Scene], ChangePlan]


class SceneWriter:
    """Writes changes into Stash by way of the journal. Blocking; one caller at a time, and one process at a time."""

    def __init__(self, client: StashClient, tags: TagBook, journal: Journal) -> None:
        self._client = client
        self._tags = tags
        self._journal = journal

    def recover(self) -> tuple[Recovered, ...]:
        """Completes, scene by scene, what killed or broken-off runs left half-written."""
        if not self._journal.unfinished():
            return ()
        with self._journal.only_writer():  # so what is still open now is nobody's
            return tuple(self._complete(left_behind) for left_behind in self._journal.unfinished())

    def apply(self, run_id: int, scene_id: str, info: VideoTagInfo, options: PlanOptions) -> SceneChange:
        """Brings the scene, as it is now, to what ``info`` says, and takes it off the queue.

        Raises ``SceneGoneError``, or ``ApplyError`` with every cause; then the scene is still queued. The
        errors of the connection pass through, and the plan stays open in the journal.
        """
        with self._journal.only_writer():
            known = self._known(info, options)
            for name in control_names(options.names):
                if tag_key(name) not in known:
                    known[tag_key(name)] = self._tags.create(name)
            return self._change(
                run_id, scene_id, lambda scene: plan_scene(scene, info, self._journal.ours(scene_id), known, options)
            )

    def preview(self, scene_id: str, info: VideoTagInfo, options: PlanOptions) -> SceneChange:
        """What ``apply`` would change. Writes nothing, neither to Stash nor to the journal. Raises ``SceneGoneError``."""
        known = self._known(info, options)
        for name in control_names(options.names):
            known.setdefault(tag_key(name), Tag("", name))
        scene = read_scene(self._client, scene_id)
        plan = plan_scene(scene, info, self._journal.ours(scene_id), known, options)
        told = tuple(tag for tag in plan.add if tag_key(tag.name) != tag_key(options.names.tagged))
        return replace(plan, add=told).summary()

    def remove(self, run_id: int, scene_id: str) -> SceneChange:
        """Takes off what is ours, while it is as we left it. Raises as ``apply`` does."""
        with self._journal.only_writer():
            return self._change(run_id, scene_id, lambda scene: plan_removal(scene, self._journal.ours(scene_id)))

    def undo(self, run_id: int, plan_id: int) -> SceneChange:
        """Takes back what one plan did. What people changed since stays, and is told. Raises as ``apply`` does."""
        with self._journal.only_writer():
            kept_back: list[str] = []
            scene_id = self._journal.facts(plan_id).scene_id

            def plan(scene: Scene) -> ChangePlan:
                found, told = plan_undo(scene, self._journal.facts(plan_id), self._journal.ours(scene_id))
                kept_back.extend(told)
                return found

            try:
                change = self._change(run_id, scene_id, plan)
            except SceneGoneError:
                self._journal.set_undone(plan_id)
                raise
            self._journal.set_undone(plan_id)
            return replace(change, kept_back=tuple(kept_back))

    def destroy_new_tags(self, run_id: int) -> tuple[str, ...]:
        """Removes the tags that a run made in Stash, those that nobody uses or has changed. Returns why each other one stays."""
        told = []
        with self._journal.only_writer():
            for tag in self._journal.new_tags_of(run_id):
                try:
                    reason = self._tags.destroy_unused(tag)
                except StashQueryError as error:
                    reason = f"the tag {tag.name!r} stays in Stash: {error}"
                if reason:
                    told.append(reason)
                else:
                    self._journal.tag_destroyed(tag.id)
        return tuple(told)

    def mark_failed(self, run_id: int, scene_id: str, errored: str, reason: str) -> None:
        """Adds the tag ``errored`` to the scene, which stays queued. A scene that has vanished is only noted."""
        with self._journal.only_writer():
            self._journal.note_failure(run_id, scene_id, reason)
            (tag,) = self._tags.ensure([errored]).values()
            try:
                self._change(run_id, scene_id, lambda scene: plan_addition(scene, tag))
            except SceneGoneError as gone:
                _log.info("%s", gone)

    def _known(self, info: VideoTagInfo, options: PlanOptions) -> dict[str, Tag]:
        return self._tags.find([*control_names(options.names), *names_to_find(info)])

    def _change(self, run_id: int, scene_id: str, plan: Planner) -> SceneChange:
        """Plans and carries out one change, once what an earlier one left half-done is complete."""
        for left_behind in self._journal.unfinished(scene_id):
            self._complete(left_behind)
        scene = read_scene(self._client, scene_id)
        disown_what_changed(self._journal, scene)
        planned = plan(scene)
        if not planned.is_empty:
            Writing(self._client, self._tags, self._journal, self._journal.open_plan(run_id, planned)).carry_out()
        return planned.summary()

    def _complete(self, left_behind: OpenPlan) -> Recovered:
        scene_id = left_behind.plan.scene_id
        try:
            adopted = Writing(self._client, self._tags, self._journal, left_behind).carry_on()
        except SceneGoneError:
            return Recovered(scene_id, finished=False, gone=True)
        except ApplyError as error:
            return Recovered(scene_id, finished=False, reason=str(error))
        return Recovered(scene_id, finished=True, markers=len(adopted.markers), tags=len(adopted.tags))
