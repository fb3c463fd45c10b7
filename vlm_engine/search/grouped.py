"""Searches of several groups of tags in one video: a tag added later asks about itself alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vlm_engine.config.models import SearchConfig
from vlm_engine.search.pricing import ONE_MODEL, Costs
from vlm_engine.search.scan import ObservationLog, milliseconds
from vlm_engine.search.video_search import VideoSearch
from vlm_engine.types import FrameQuery, Observation, Purpose, Span, VideoInfo

Tags = tuple[str, ...]


def regrouped(tags: Sequence[str], earlier: Iterable[tuple[Tags, bool]]) -> tuple[Tags, ...]:
    """Return ``tags`` in the groups that ``earlier`` searches had, and the rest as one group.

    Each earlier search comes with whether it was made with the settings of the next one. Then its
    group stays whole, even where some of its tags are no longer wanted: only so can it be repeated
    exactly from the stored answers.
    """
    left, groups = dict.fromkeys(tags), list[Tags]()
    for group, alike in sorted(earlier, key=lambda search: not search[1]):
        still_wanted = tuple(tag for tag in group if tag in left)
        if still_wanted:
            groups.append(group if alike else still_wanted)
        for tag in still_wanted:
            del left[tag]
    return (*groups, tuple(left)) if left else tuple(groups)


class GroupedSearch:
    """Several searches of one video as one, each as if it were alone; see ``VideoSearch``.

    Only ``tags`` are reported.
    """

    def __init__(
        self,
        video: VideoInfo,
        tags: Sequence[str],
        groups: Iterable[Tags],
        config: SearchConfig,
        costs: Costs = ONE_MODEL,
    ) -> None:
        self._tags = tuple(tags)
        self._log = ObservationLog(tags)
        self._searches = [(group, VideoSearch(video, group, config, costs)) for group in groups]

    def record(self, query: FrameQuery, observation: Observation) -> None:
        """Record what came of a query."""
        self._log.record(query, observation)
        for group, search in self._searches:
            tags = tuple(tag for tag in query.tags if tag in group)
            if tags:
                search.record(FrameQuery(query.time_s, tags, query.purpose), observation)

    def next_queries(self) -> tuple[FrameQuery, ...]:
        """Return the next round, in order of time, each time once; empty when all is found."""
        wanted: dict[int, FrameQuery] = {}
        for _, search in self._searches:
            for query in search.next_queries():
                key = milliseconds(query.time_s)
                wanted[key] = _joined(wanted[key], query) if key in wanted else query
        return tuple(wanted[key] for key in sorted(wanted))

    def expected_more(self) -> int:
        """Return how many queries probably follow after this round."""
        return sum(search.expected_more() for _, search in self._searches)

    def observations(self) -> Iterator[tuple[float, Observation]]:
        """Yield (time asked for, what was seen), in order of time; at one time, the judge's first.

        They are enough to build this search again.
        """
        return self._log.observations()

    def spans(self) -> tuple[Span, ...]:
        """Return where each tag applies, in the order of tags and time."""
        spans = [span for _, search in self._searches for span in search.spans()]
        place = {tag: number for number, tag in enumerate(self._tags)}
        wanted = (span for span in spans if span.tag in place)
        return tuple(sorted(wanted, key=lambda span: (place[span.tag], span.start_s)))


def _joined(one: FrameQuery, other: FrameQuery) -> FrameQuery:
    """Return both in one query.

    A scan may be answered by the larger picture of another query, but not the other way round.
    """
    purpose = other.purpose if one.purpose is Purpose.SCAN else one.purpose
    return FrameQuery(one.time_s, tuple(dict.fromkeys((*one.tags, *other.tags))), purpose)
