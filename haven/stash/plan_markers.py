"""The markers of one scene's plan on their way into Stash, and those that it takes off."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from haven.stash.changes import PlannedMarker
from haven.stash.errors import (
    StashError,
    StashLockedError,
    StashQueryError,
    StashTimeoutError,
    StashUnreachableError,
)
from haven.stash.journal import Journal, OpenPlan
from haven.stash.library import read_item
from haven.stash.markers import batches, create_markers, destroy_markers
from haven.stash.plan_tags import PlanTags
from haven.stash.recover import adopt
from haven.stash.transport import StashClient
from haven.stash.values import Item, Marker

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
