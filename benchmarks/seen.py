"""Search with a model that never errs: is any event left out although two looks or more said yes to
it?

Every look inside an event says yes, so none denies it. Counted over lengths, numbers of tags, cut
hints, and shares of events that fill shots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from benchmarks.noisy_model import Noise, NoisyModel
from benchmarks.oracle import Oracle, marked
from benchmarks.processes import spread
from benchmarks.strategies import engine_search
from benchmarks.world import World, draw_video
from vlm_engine.types import Span

TAGS = (1, 2, 4, 8, 35)
LENGTHS_S = (60.0, 1200.0, 7200.0, 14400.0)
HINTS = {"exact": (1.0, 0.0), "poor": (0.6, 1.4), "none": (0.0, 0.0)}
"""Recall, and false hints for each true one."""
FILLED = (0.0, 0.5, 1.0)
SHOTS_S = (6.0, 12.0)


@dataclass(frozen=True, slots=True)
class Seen:
    """``confirmed``: the events to which two looks or more said yes.

    ``lost``: those without a span. ``doubtful``: those whose spans are all below the usual
    threshold. ``looked_at`` counts events with a yes.
    """

    videos: int = 0
    events: int = 0
    looked_at: int = 0
    confirmed: int = 0
    lost: int = 0
    doubtful: int = 0

    def __add__(self, other: Seen) -> Seen:
        return Seen(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


def count(videos: int, first_seed: int, processes: int) -> dict[str, Seen]:
    """So many videos of each kind, by number of tags, and by length, hints and shots filled."""
    jobs = [
        (tags, length_s, hints, filled, first_seed + number)
        for tags, length_s, hints, filled in product(TAGS, LENGTHS_S, HINTS, FILLED)
        for number in range(videos)
    ]
    jobs.sort(key=lambda job: -job[0] * job[1])
    counted: dict[str, Seen] = {}
    for job, seen in zip(jobs, spread(_run, jobs, processes, at_once=4), strict=True):
        for name in _names(*job[:4]):
            counted[name] = counted.get(name, Seen()) + seen
    return dict(sorted(counted.items(), key=lambda item: _ORDER.index(item[0])))


def _names(tags: int, length_s: float, hints: str, filled: float) -> tuple[str, ...]:
    return (
        f"{tags} tags",
        f"{length_s / 60:g} minutes",
        f"{hints} cut hints",
        f"{filled:.0%} of events fill shots",
        "all",
    )


_ORDER = [
    *(f"{tags} tags" for tags in TAGS),
    *(f"{length_s / 60:g} minutes" for length_s in LENGTHS_S),
    *(f"{hints} cut hints" for hints in HINTS),
    *(f"{filled:.0%} of events fill shots" for filled in FILLED),
    "all",
]


def _run(job: tuple[int, float, str, float, int]) -> Seen:
    tags, length_s, hints, filled, seed = job
    recall, false = HINTS[hints]
    shot_s = SHOTS_S[seed % len(SHOTS_S)]
    world = World(
        duration_s=length_s,
        tags=tags,
        filled_shots=filled,
        cut_recall=recall,
        false_cuts=false,
        shot_median_s=shot_s,
    )
    return watch(NoisyModel(draw_video(world, (seed, tags, int(length_s))), Noise(), (seed, 7)))


def watch(model: NoisyModel) -> Seen:
    """Search one video, and count what became of its events. The model must not err."""
    yeses, spans = searched(model)
    found = marked(spans)
    seen = Seen(videos=1)
    for tag, events in model.truth.items():
        for event in events:
            times = sum(event[0] <= time_s < event[1] for time_s in yeses[tag])
            seen += Seen(
                events=1,
                looked_at=int(times > 0),
                confirmed=int(times > 1),
                lost=int(times > 1 and not _is_reported(tag, event, spans)),
                doubtful=int(times > 1 and not _is_reported(tag, event, found)),
            )
    return seen


def searched(oracle: Oracle) -> tuple[dict[str, set[float]], tuple[Span, ...]]:
    """For each tag the times of the frames that were said to show it; and all spans, those below
    the threshold too.
    """
    search = engine_search(oracle)
    yeses: dict[str, set[float]] = {tag: set() for tag in oracle.tags}
    while queries := search.next_queries():
        for query, seen in zip(queries, oracle.observe(queries), strict=True):
            search.record(query, seen)
            for tag, verdict in seen.verdicts.items():
                if verdict.present:
                    yeses[tag].add(seen.time_s)
    return yeses, search.spans()


def _is_reported(tag: str, event: tuple[float, float], spans: Sequence[Span]) -> bool:
    return any(
        span.tag == tag and span.start_s < event[1] and span.end_s > event[0] for span in spans
    )
