"""Bringing the journal up to what is in Stash: after a kill, after a failure, and after what people did meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from haven_stash.changes import OurMarker, PlannedMarker
from haven_stash.errors import SceneGoneError
from haven_stash.journal import Journal, OpenPlan
from haven_stash.library import read_scene
from haven_stash.plan import is_ours
from haven_stash.transport import StashClient
from haven_stash.values import Marker, Recovered, Scene, Tag


@dataclass(frozen=True, slots=True)
class Adopted:
    """What turned out to be ours: the planned markers that exist, and the ids of planned tags on the scene."""

    markers: tuple[PlannedMarker, ...]
    tag_ids: tuple[str, ...]


def recover(client: StashClient, journal: Journal, opened: OpenPlan) -> Recovered:
    """Closes a plan that a killed or broken-off run left open.

    What it wrote without the journal hearing of it becomes ours. The tag that queues the scene goes last:
    without it the plan had been carried out to the end; with it the scene is planned anew.
    """
    scene_id = opened.plan.scene_id
    try:
        scene = read_scene(client, scene_id)
    except SceneGoneError:
        journal.close_plan(opened, "scene gone")
        return Recovered(scene_id, finished=False, gone=True)
    queue_tag = opened.plan.queue_tag_id
    finished = queue_tag in opened.plan.before_tag_ids and queue_tag not in scene.tag_ids
    adopted = adopt(journal, opened, scene, opened.plan.create)
    disown_what_changed(journal, scene)
    journal.close_plan(opened, "finished" if finished else "to be planned anew")
    return Recovered(scene_id, finished=finished, markers=len(adopted.markers), tags=len(adopted.tag_ids))


def adopt(journal: Journal, opened: OpenPlan, scene: Scene, planned: Iterable[PlannedMarker]) -> Adopted:
    """Makes ours what the plan wanted, is on ``scene`` now, was not before, and is not in the journal yet."""
    plan = opened.plan
    ours = journal.ours(scene.id)
    known_ids = {*plan.before_marker_ids, *ours.markers}
    fresh = [marker for marker in scene.markers if marker.id not in known_ids]
    pairs = _pair(planned, fresh, plan.parent)
    new_tags = tuple(
        tag.id
        for tag in scene.tags
        if tag.id not in {*plan.before_tag_ids, *ours.tag_ids} and any(wanted.is_tag(tag) for wanted in plan.add)
    )
    if pairs:
        journal.markers_created(opened, [_record(marker) for _, marker in pairs])
    if new_tags:
        journal.tags_added(opened, new_tags)
    return Adopted(tuple(wanted for wanted, _ in pairs), new_tags)


def disown_what_changed(journal: Journal, scene: Scene) -> None:
    """What a person took off the scene, or changed, is no longer ours, even if it comes back."""
    ours = journal.ours(scene.id)
    untouched = {marker.id for marker in scene.markers if is_ours(marker, ours)}
    journal.disown(scene.id, marker_ids=set(ours.markers) - untouched, tag_ids=ours.tag_ids - scene.tag_ids)


def _pair(planned: Iterable[PlannedMarker], fresh: list[Marker], parent: Tag) -> tuple[tuple[PlannedMarker, Marker], ...]:
    """Each planned marker with the one that is exactly what writing it gives; each marker is used once."""
    rest = list(fresh)
    pairs = []
    for wanted in planned:
        match = next((marker for marker in rest if wanted.is_written_as(marker, parent)), None)
        if match:
            rest.remove(match)
            pairs.append((wanted, match))
    return tuple(pairs)


def _record(marker: Marker) -> OurMarker:
    tag_ids = tuple(sorted(marker.tag_ids))
    return OurMarker(marker.id, marker.title, marker.start_s, marker.end_s, marker.primary.id, tag_ids)
