"""The answers to one search as arrays: n frames in order of time, by K tags."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vlm_engine.search.rates import Floats
from vlm_engine.search.time_warp import TimeWarp
from vlm_engine.types import Observation

Flags = NDArray[np.bool_]
MOST_LOGIT = 20.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen. ``times_s``, ``shots`` and ``observers`` are (n,), ``lapses_s`` (n - 1,), all others (n, K).

    ``told``: the answer came with a confidence; ``logits``: how far it leans to its own verdict, >= 0; ``parts``: of the
    confidences that one observer told about a tag in one scene, each one's part, 0 where none was told. ``lapses_s``: what
    passes on the video's clock between one frame and the next. ``observers``: the number of the one that looked.
    """

    times_s: Floats
    lapses_s: Floats
    shots: NDArray[np.intp]
    judged: Flags
    present: Flags
    told: Flags
    probabilities: Floats
    logits: Floats
    parts: Floats
    observers: NDArray[np.intp]

    def of(self, columns: NDArray[np.intp]) -> Evidence:
        """The same for some of the tags."""
        return replace(
            self,
            judged=self.judged[:, columns],
            present=self.present[:, columns],
            told=self.told[:, columns],
            probabilities=self.probabilities[:, columns],
            logits=self.logits[:, columns],
            parts=self.parts[:, columns],
        )


def scene_starts(shots: NDArray[np.intp]) -> NDArray[np.intp]:
    """The numbers of the frames with which a scene begins, given the scenes of all frames, ascending."""
    return np.flatnonzero(np.diff(shots, prepend=-1))


def gather(
    observations: Iterable[Observation],
    tags: Sequence[str],
    clock: TimeWarp,
    *,
    scanned: bool = False,
) -> Evidence:
    """The observations, in whatever order, as arrays. ``scanned``: a smaller model scans, and is observer 0."""
    seen = sorted(observations, key=lambda observation: observation.time_s)
    column = {tag: number for number, tag in enumerate(tags)}
    shape = len(seen), len(tags)
    verdicts = [verdict for observation in seen for verdict in observation.verdicts.values()]
    at = (
        np.repeat(np.arange(len(seen)), [len(observation.verdicts) for observation in seen]),
        np.array(
            [column[tag] for observation in seen for tag in observation.verdicts], dtype=np.intp
        ),
    )
    judged, present, told = (np.zeros(shape, bool) for _ in range(3))
    probabilities = np.zeros(shape)
    confidences = np.array(
        [verdict.probability for verdict in verdicts], dtype=np.float64
    )  # not a number where there is none
    judged[at], present[at], told[at] = (
        True,
        [verdict.present for verdict in verdicts],
        ~np.isnan(confidences),
    )
    probabilities[at] = np.nan_to_num(confidences, copy=False)
    leaning = np.where(present, probabilities, 1 - probabilities).clip(0.5, 1.0)
    with np.errstate(divide="ignore"):
        logits = np.where(told, np.minimum(np.log(leaning) - np.log1p(-leaning), MOST_LOGIT), 0.0)
    times_s = np.array([observation.time_s for observation in seen], dtype=np.float64)
    shots = clock.scenes(times_s)
    observers = np.array(
        [scanned and not observation.scanned for observation in seen], dtype=np.intp
    )
    return Evidence(
        times_s,
        clock.between(times_s[:-1], times_s[1:]),
        shots,
        judged,
        present,
        told,
        probabilities,
        logits,
        _parts(told, shots, observers),
        observers,
    )


def _parts(told: Flags, shots: NDArray[np.intp], observers: NDArray[np.intp]) -> Floats:
    parts, starts = np.zeros(told.shape), scene_starts(shots)
    for observer in np.unique(observers):
        own = told & (observers == observer)[:, None]
        in_scene = np.add.reduceat(own, starts, axis=0, dtype=np.intp).repeat(
            np.diff(starts, append=len(own)), axis=0
        )
        parts += own / np.maximum(in_scene, 1)
    return parts
