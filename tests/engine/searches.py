"""Searches against scripted truths: no model, no video, only times and verdicts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from vlm_engine.search import GroupedSearch, VideoSearch
from vlm_engine.types import Cut, FrameQuery, Observation, Purpose, Span, Verdict, VideoInfo

Truth = Mapping[str, Sequence[tuple[float, float]]]
TAGS = ("Foul", "Turnover", "Goal")


def video(
    duration_s: float = 600.0,
    cuts: Iterable[Cut | float] = (),
    key_frames_s: Sequence[float] = (),
) -> VideoInfo:
    hints = tuple(cut if isinstance(cut, Cut) else Cut(cut, 0.9) for cut in cuts)
    size = (1280, 720, 25.0, "h264", tuple(key_frames_s), hints)
    return VideoInfo("game.mp4", "id", duration_s, duration_s - 0.04, *size)


def says(truth: Truth) -> Callable[[FrameQuery], Observation]:
    """A model that tells just this."""

    def answer(query: FrameQuery) -> Observation:
        return Observation(
            query.time_s,
            {
                tag: Verdict(any(a <= query.time_s < b for a, b in truth.get(tag, ())))
                for tag in query.tags
            },
        )

    return answer


def play(
    search: VideoSearch | GroupedSearch,
    answer: Callable[[FrameQuery], Observation],
    seed: int | None = None,
) -> list[list[FrameQuery]]:
    """Play a search to its end; the answers of a round come in order, or as drawn from ``seed``."""
    rounds: list[list[FrameQuery]] = []
    while queries := search.next_queries():
        rounds.append(list(queries))
        shuffled = random.Random(seed).sample(queries, len(queries))
        for query in queries if seed is None else shuffled:
            search.record(query, answer(query))
    return rounds


def replay(first: VideoSearch, again: VideoSearch) -> None:
    """Give one search what another has seen."""
    for time_s, observation in first.observations():
        query = FrameQuery(time_s, tuple(observation.verdicts), Purpose.SCAN)
        again.record(query, observation)


def spans_of(search: VideoSearch, tag: str) -> list[Span]:
    return [span for span in search.spans() if span.tag == tag]


def bounds(spans: Iterable[Span]) -> list[tuple[float, float]]:
    return [(span.start_s, span.end_s) for span in spans]
