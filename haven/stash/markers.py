"""Writing markers: created by the batch with the fate of each one told, destroyed all together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from haven.stash.changes import PlannedMarker
from haven.stash.errors import StashError, StashQueryError
from haven.stash.library import seconds_of
from haven.stash.records import OwnedMarker
from haven.stash.transport import StashClient

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
