"""Writing markers: created by the batch with the fate of each one told, destroyed all together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from haven.stash.changes import OwnedMarker, PlannedMarker
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
from haven.stash.values import Item, Marker

BATCH = 25
_HOOKS_S = 4.0  # may be what other plugins do with each marker, and Stash replies after that

_MADE = "{ id created_at primary_tag { id created_at } tags { id created_at } }"
_DESTROY = "mutation MarkersDestroy($ids: [ID!]!) { sceneMarkersDestroy(ids: $ids) }"


@dataclass(frozen=True, slots=True)
class Creation:
    """What came of one batch: the markers that were created, and those that were not, with the reason.

    A created one that puts back an earlier one has its ``row``.
    """

    created: tuple[OwnedMarker, ...]
    failed: tuple[tuple[PlannedMarker, StashError], ...]


def batches(markers: Sequence[PlannedMarker]) -> Iterator[tuple[PlannedMarker, ...]]:
    """``markers`` in portions of ``BATCH``."""
    rest = iter(markers)
    while batch := tuple(islice(rest, BATCH)):
        yield batch


def create_markers(client: StashClient, scene_id: str, batch: Sequence[PlannedMarker]) -> Creation:
    """Creates a batch in one request. The tags of all must exist.

    Whether a marker that is reported as failed exists all the same is for the caller to look up.
    Raises the errors of the connection: then nothing is known of any of them.
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
    causes = {error.alias: error.as_error() for error in reply.errors}
    created, failed = [], []
    for alias, marker in zip(inputs, batch, strict=True):
        if (data := reply.data.get(alias)) and alias not in causes:
            created.append(_record(marker, data))
        else:
            failed.append(
                (marker, causes.get(alias) or StashQueryError("no marker came back", path=alias))
            )
    return Creation(tuple(created), tuple(failed))


def destroy_markers(client: StashClient, ids: Sequence[str]) -> None:
    """Destroys all of them, or none: Stash refuses the list when one is gone already."""
    if ids:
        client.ask(_DESTROY, {"ids": list(ids)}, work_s=_HOOKS_S * len(ids))


def _record(marker: PlannedMarker, data: Mapping[str, Any]) -> OwnedMarker:
    """What was written, with the times of making as Stash tells them."""
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
    )


_ROUNDS = 10


class PlanMarkers:
    """Creates and destroys. Every call raises ``ItemGoneError`` when the scene turns out to have vanished."""

    def __init__(
        self, client: StashClient, tags: PlanTags, journal: Journal, opened: OpenPlan
    ) -> None:
        self._client = client
        self._tags = tags
        self._journal = journal
        self._opened = opened
        self._plan = opened.plan

    def create(self, planned: Iterable[PlannedMarker]) -> list[StashError]:
        """Creates these markers, those whose tags exist. Returns why some could not be, each reason once."""
        failed = self._create_round(planned)
        refused: list[StashError] = []
        for attempt in range(_ROUNDS - 1):
            # Whatever failed gets a second chance, with its tags looked up again; a locked or restarting Stash gets more.
            if not failed or (attempt and not any(_may_pass(error) for error in failed.values())):
                break
            self._client.pause(attempt)
            missing = self._still_missing(failed)
            refused += self._tags.look_up_again(
                (self._opened, marker.tag) for marker in missing
            ).values()
            failed = self._create_round(missing)
        return list({str(error): error for error in (*refused, *failed.values())}.values())

    def destroy(self) -> None:
        """Destroys those that the plan says, but for what people changed since. Raises ``StashQueryError``."""
        if not self._plan.destroy:
            return
        wanted = self._still_to_destroy()
        try:
            destroy_markers(self._client, wanted)
        except StashLockedError:
            raise
        except StashQueryError:
            # Stash refuses all of them when one is gone: somebody destroyed it meanwhile, or an earlier try of ours did.
            changed = self._changed_by_people()
            wanted = [marker_id for marker_id in wanted if marker_id not in changed]
            destroy_markers(self._client, self._still_to_destroy())
        self._journal.markers_taken_off(self._opened, wanted)

    def _create_round(self, planned: Iterable[PlannedMarker]) -> dict[PlannedMarker, StashError]:
        """Creates what has a tag. Returns what is not known to exist now, with the reason."""
        tagged = ((marker, self._tags.tag(marker.tag)) for marker in planned)
        ready = [
            replace(one, tag=replace(one.tag, id=tag.id, created_s=tag.created_s))
            for one, tag in tagged
            if tag.id
        ]
        failed: dict[PlannedMarker, StashError] = {}
        broken: StashUnreachableError | None = None
        for batch in batches(ready):
            if broken:
                failed |= dict.fromkeys(batch, broken)
                continue
            try:
                creation = create_markers(self._client, self._plan.item.id, batch)
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
        exist = adopt(self._journal, self._opened, self._scene(), failed).markers
        return [marker for marker in failed if marker not in exist]

    def _still_to_destroy(self) -> list[str]:
        """What people changed since is theirs."""
        now = self._markers_now()
        return [
            record.id
            for record in self._plan.destroy
            if record.id in now and record.is_untouched(now[record.id])
        ]

    def _changed_by_people(self) -> set[str]:
        now = self._markers_now()
        return {
            record.id
            for record in self._plan.destroy
            if record.id in now and not record.is_untouched(now[record.id])
        }

    def _markers_now(self) -> dict[str, Marker]:
        return {marker.id: marker for marker in self._scene().markers}

    def _scene(self) -> Item:
        return read_item(self._client, self._plan.item)


def _may_pass(error: StashError) -> bool:
    return isinstance(error, StashLockedError | StashUnreachableError) and not isinstance(
        error, StashTimeoutError
    )
