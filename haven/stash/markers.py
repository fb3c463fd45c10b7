"""Creating, moving and destroying the markers of a scene: the requests, and their retries within
one plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from haven.stash.changes import MarkerMove, OwnedMarker, PlannedMarker
from haven.stash.errors import (
    StashError,
    StashLockedError,
    StashQueryError,
    StashTimeoutError,
    StashUnreachableError,
)
from haven.stash.journal import Journal, OpenPlan
from haven.stash.reading import read_item, seconds_of
from haven.stash.recover import adopt
from haven.stash.tags import PlanTags
from haven.stash.transport import StashClient

BATCH = 25
"""The number of markers that one request creates at most."""
_ROUNDS = 10
_HOOKS_S = 4.0  # what other plugins may do with each marker before Stash replies

_MADE = "{ id created_at primary_tag { id created_at } tags { id created_at } }"
_UPDATE = (
    "mutation MarkerUpdate($input: SceneMarkerUpdateInput!) {"
    " sceneMarkerUpdate(input: $input) { id } }"
)
_DESTROY = "mutation MarkersDestroy($ids: [ID!]!) { sceneMarkersDestroy(ids: $ids) }"


def create_markers(
    client: StashClient, scene_id: str, batch: Sequence[PlannedMarker]
) -> tuple[list[OwnedMarker], dict[PlannedMarker, StashError]]:
    """Create a batch in one request. The tags of all must exist. Return the markers that were
    created, and the others with their errors.

    A marker that is reported as failed may exist all the same. Raises the errors of the connection:
    then nothing is known of any marker.
    """
    inputs = {
        f"m{number}": {
            "scene_id": scene_id,
            "title": marker.title,
            "seconds": marker.start_s,
            "end_seconds": marker.end_s,
            "primary_tag_id": marker.tag.id,
            "tag_ids": list(marker.tag_ids),
        }
        for number, marker in enumerate(batch)
    }
    declared = ", ".join(f"${alias}: SceneMarkerCreateInput!" for alias in inputs)
    fields = " ".join(f"{alias}: sceneMarkerCreate(input: ${alias}) {_MADE}" for alias in inputs)
    reply = client.ask_once(
        f"mutation MarkersCreate({declared}) {{ {fields} }}", inputs, work_s=_HOOKS_S * len(batch)
    )
    errors = {error.path.partition(".")[0]: error for error in reply.errors}
    created = []
    failed: dict[PlannedMarker, StashError] = {}
    for alias, marker in zip(inputs, batch, strict=True):
        if (data := reply.data.get(alias)) and alias not in errors:
            created.append(_record(marker, data))
        else:
            failed[marker] = errors.get(alias) or StashQueryError("no marker came back", path=alias)
    return created, failed


def destroy_markers(client: StashClient, ids: Sequence[str]) -> None:
    """Destroy all of these markers, or none: Stash refuses the list if one is gone already."""
    if ids:
        client.ask(_DESTROY, {"ids": list(ids)}, work_s=_HOOKS_S * len(ids))


class PlanMarkers:
    """The markers of one open plan. Every call raises ``ItemGoneError`` if the scene turns out to
    have vanished.
    """

    def __init__(
        self, client: StashClient, tags: PlanTags, journal: Journal, opened: OpenPlan
    ) -> None:
        self._client = client
        self._tags = tags
        self._journal = journal
        self._opened = opened
        self._plan = opened.plan

    def create(self, planned: Iterable[PlannedMarker]) -> list[StashError]:
        """Create these markers, as far as their tags exist. Return why some could not be, each
        reason once.
        """
        failed = self._create_round(planned)
        refused: list[StashError] = []
        for attempt in range(_ROUNDS - 1):
            # Every failure is retried once, with its tags looked up again; a locked or restarting
            # Stash gets more.
            if not failed or (attempt and not any(map(_is_transient, failed.values()))):
                break
            self._client.pause(attempt)
            # Reads the scene again, since a marker that is reported as failed may exist.
            item = read_item(self._client, self._plan.item)
            exist = adopt(self._journal, self._opened, item, failed).markers
            missing = [marker for marker in failed if marker not in exist]
            refused += self._tags.look_up_again(
                (self._opened, marker.tag) for marker in missing
            ).values()
            failed = self._create_round(missing)
        return list({str(error): error for error in (*refused, *failed.values())}.values())

    def move(self, moves: Iterable[MarkerMove]) -> None:
        """Give markers other times. Raises ``StashQueryError``."""
        for move in moves:
            times = {"seconds": move.start_s, "end_seconds": move.end_s}
            self._client.ask(_UPDATE, {"input": {"id": move.marker.id, **times}}, work_s=_HOOKS_S)
            self._journal.marker_moved(self._opened, move)

    def destroy(self) -> None:
        """Destroy the plan's obsolete markers, except those that people changed since. Raises
        ``StashQueryError``.
        """
        if not self._plan.destroy:
            return
        wanted, _ = self._to_destroy()
        try:
            destroy_markers(self._client, wanted)
        except StashLockedError:
            raise
        except StashQueryError:
            # Stash refuses all if one is gone: somebody destroyed it meanwhile, or an earlier
            # attempt did.
            untouched, changed = self._to_destroy()
            wanted = [marker_id for marker_id in wanted if marker_id not in changed]
            destroy_markers(self._client, untouched)
        self._journal.markers_removed(self._opened, wanted)

    def _create_round(self, planned: Iterable[PlannedMarker]) -> dict[PlannedMarker, StashError]:
        """Create the markers whose tags exist. Return those not known to exist now, with the
        reason.
        """
        tagged = ((marker, self._tags.tag(marker.tag)) for marker in planned)
        ready = [
            replace(marker, tag=replace(marker.tag, id=tag.id, created_s=tag.created_s))
            for marker, tag in tagged
            if tag.id
        ]
        failed: dict[PlannedMarker, StashError] = {}
        for start in range(0, len(ready), BATCH):
            batch = ready[start : start + BATCH]
            try:
                created, refused = create_markers(self._client, self._plan.item.id, batch)
            except StashUnreachableError as error:
                return failed | dict.fromkeys(ready[start:], error)
            except StashQueryError as error:
                failed |= dict.fromkeys(batch, error)
                continue
            failed |= refused
            if created:
                self._journal.markers_created(self._opened, created)
        return failed

    def _to_destroy(self) -> tuple[list[str], set[str]]:
        """Return the ids of the obsolete markers that are as they were written, and of those people
        changed.
        """
        present = {marker.id: marker for marker in read_item(self._client, self._plan.item).markers}
        is_untouched = {
            marker.id: marker.is_untouched(present[marker.id])
            for marker in self._plan.destroy
            if marker.id in present
        }
        untouched = [marker_id for marker_id, same in is_untouched.items() if same]
        return untouched, is_untouched.keys() - set(untouched)


def _record(marker: PlannedMarker, data: Mapping[str, Any]) -> OwnedMarker:
    """Return what was written, with the times of making as Stash reports them."""
    tag_ids = tuple(tag_id for tag_id in marker.tag_ids if tag_id != marker.tag.id)
    made_s = {
        str(tag["id"]): seconds_of(tag["created_at"])
        for tag in (data["primary_tag"], *data["tags"])
    }
    return OwnedMarker(
        id=str(data["id"]),
        title=marker.title,
        start_s=marker.start_s,
        end_s=marker.end_s,
        primary_id=marker.tag.id,
        tag_ids=tag_ids,
        row=marker.revives,
        asked=marker.tag.asked,
        made_s=seconds_of(data["created_at"]),
        tags_made_s=tuple(made_s.get(tag_id, 0.0) for tag_id in (marker.tag.id, *tag_ids)),
        tag_name=marker.tag.name,
    )


def _is_transient(error: StashError) -> bool:
    return isinstance(error, StashLockedError | StashUnreachableError) and not isinstance(
        error, StashTimeoutError
    )
