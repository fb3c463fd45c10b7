"""What the journal knows of one plan that was carried out, as values: enough to take it back exactly."""

from __future__ import annotations

from dataclasses import dataclass

from haven.items import ItemRef
from haven.stash.records import OwnedMarker
from haven.stash.values import Tag


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What came of one plan. ``item_made_s``: when its item was made, by Stash's clock, 0 where that is not known;
    ``before_marker_ids``: the markers that were there before it.

    ``made`` and ``put`` are its markers and tags that are still ours; ``lost_markers`` and ``lost_tags`` those that a person
    changed or took off since; ``taken_markers`` and ``taken_tags`` what of ours, from earlier, it took off; ``released``
    the tags that were not ours and that it took off. What a later plan took off and did not put back is in none of them.
    """

    plan_id: int
    run_id: int
    item: ItemRef
    item_made_s: float
    parent: Tag
    before_marker_ids: frozenset[str]
    made: tuple[OwnedMarker, ...]
    lost_markers: tuple[OwnedMarker, ...]
    taken_markers: tuple[OwnedMarker, ...]
    put: tuple[Tag, ...]
    lost_tags: tuple[Tag, ...]
    taken_tags: tuple[Tag, ...]
    released: tuple[Tag, ...]

    @property
    def put_back_ids(self) -> frozenset[str]:
        """The ids of the tags that taking the plan back puts on the item or on its markers."""
        tags = {tag.id for tag in (*self.taken_tags, *self.released)}
        return frozenset(
            tags.union(*((one.primary_id, *one.tag_ids) for one in self.taken_markers))
        )
