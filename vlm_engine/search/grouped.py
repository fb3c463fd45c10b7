"""Tags that were added later are searched by themselves, so that nothing more is asked for the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from vlm_engine.config.models import SearchConfig
from vlm_engine.search.scan import milliseconds
from vlm_engine.search.video_search import VideoSearch
from vlm_engine.types import FrameQuery, Observation, Purpose, Span, Verdict, VideoInfo

Tags = tuple[str, ...]


def regrouped(tags: Sequence[str], earlier: Iterable[tuple[Tags, bool]]) -> tuple[Tags, ...]:
    """``tags`` in the groups in which ``earlier`` searches had them; those that none had are one group.

    Each earlier search comes with whether it was made as the next one will be: then its group stays whole, also where it
    holds tags that are no longer among ``tags``, since it can be repeated from what was answered, and only so exactly.
    """
    left, groups = dict.fromkeys(tags), list[Tags]()
    for group, alike in sorted(earlier, key=lambda search: not search[1]):
        own = tuple(tag for tag in group if tag in left)
        if own:
            groups.append(group if alike else own)
        for tag in own:
            del left[tag]
    return (*groups, tuple(left)) if left else tuple(groups)


class GroupedSearch:
    """Several searches of one video as one, each for a group of tags and as if it were alone; see ``VideoSearch``.

    Only ``tags`` are told of.
    """

    def __init__(
        self,
        video: VideoInfo,
        tags: Sequence[str],
        groups: Iterable[Tags],
        config: SearchConfig,
        *,
        scanned: bool = False,
    ) -> None:
        self._tags = tuple(tags)
        self._parts = [
            (group, VideoSearch(video, group, config, scanned=scanned)) for group in groups
        ]

    def record(self, query: FrameQuery, observation: Observation) -> None:
        """Takes what came of a look."""
        for group, search in self._parts:
            own = tuple(tag for tag in query.tags if tag in group)
            if own:
                search.record(FrameQuery(query.time_s, own, query.purpose), observation)

    def next_queries(self) -> tuple[FrameQuery, ...]:
        """The next round, in order of time, each time once; empty when every search is over."""
        wanted: dict[int, FrameQuery] = {}
        for _, search in self._parts:
            for query in search.next_queries():
                key = milliseconds(query.time_s)
                wanted[key] = _joined(wanted[key], query) if key in wanted else query
        return tuple(wanted[key] for key in sorted(wanted))

    def expected_more(self) -> int:
        """How many looks are probably still to come after this round."""
        return sum(search.expected_more() for _, search in self._parts)

    def observations(self) -> Iterator[tuple[float, Observation]]:
        """(time of the look, what was seen there), in order of time; at one time, what the judge saw first."""
        seen: dict[tuple[float, bool], Observation] = {}
        for _, search in self._parts:
            for time_s, observation in search.observations():
                key = time_s, observation.scanned
                verdicts: dict[str, Verdict] = {**seen[key].verdicts} if key in seen else {}
                verdicts |= {
                    tag: verdict
                    for tag, verdict in observation.verdicts.items()
                    if tag in self._tags
                }
                if verdicts:
                    seen[key] = replace(observation, verdicts=verdicts)
        for key in sorted(seen):
            yield key[0], seen[key]

    def spans(self) -> tuple[Span, ...]:
        """Where each tag applies, in the order of tags and time."""
        found = [
            span for _, search in self._parts for span in search.spans() if span.tag in self._tags
        ]
        return tuple(sorted(found, key=lambda span: (self._tags.index(span.tag), span.start_s)))


def _joined(one: FrameQuery, other: FrameQuery) -> FrameQuery:
    """Both in one question. A scan may be answered by the larger picture of another look, but not the other way round."""
    purpose = other.purpose if one.purpose is Purpose.SCAN else one.purpose
    return FrameQuery(
        one.time_s, (*one.tags, *(tag for tag in other.tags if tag not in one.tags)), purpose
    )
