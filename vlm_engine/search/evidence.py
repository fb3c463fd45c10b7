"""The answers to one search as arrays, and the clock by which they are apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vlm_engine.search.rates import Columns, Floats
from vlm_engine.types import Cut, Observation

Flags = NDArray[np.bool_]
MOST_LOGIT = 20.0
CUT_SHARE = 0.5
_LEAST_STEP_S = 1e-3
_LONGEST_SCENE_S = 30.0


class TimeWarp:
    """A clock that runs faster across cuts, where much of what changes in a video changes.

    Half of what passes on it are seconds. The other half is the share of the video's cuts that lies
    in between, by their weight, as seconds of the video's duration. Without cuts it is plain time.
    ``cuts`` are in order of time.
    """

    def __init__(self, duration_s: float, cuts: Sequence[Cut]) -> None:
        self.cuts_s: Floats = np.array([cut.time_s for cut in cuts], dtype=np.float64)
        weights = np.array([max(0.05, cut.strength - 0.2) for cut in cuts])
        self.seconds_per_cut = weights / (weights.sum() or 1.0) * duration_s
        self._passed = np.concatenate([[0.0], np.cumsum(self.seconds_per_cut)])

    def between(self, earlier_s: Floats, later_s: Floats) -> Floats:
        """Return what passes on the clock from one time to the other; never quite nothing."""
        return np.maximum(self._at(later_s) - self._at(earlier_s), 0.0) + _LEAST_STEP_S

    def _at(self, times_s: Floats) -> Floats:
        if not len(self.cuts_s):
            return times_s
        passed = self._passed[self.shots(times_s)]
        return np.asarray((1 - CUT_SHARE) * times_s + CUT_SHARE * passed, dtype=np.float64)

    def shots(self, times_s: Floats) -> NDArray[np.intp]:
        """Return the number of the shot in which each of the times lies."""
        return np.searchsorted(self.cuts_s, times_s, side="right")

    def scenes(self, times_s: Floats) -> NDArray[np.intp]:
        """Return the same with long shots divided: nothing is hidden or mistaken for minutes.

        Times are ascending.
        """
        shots = self.shots(times_s)
        began_s = np.concatenate([[0.0], self.cuts_s])[shots]
        piece = np.floor((times_s - began_s) / _LONGEST_SCENE_S)
        fresh = (np.diff(shots) > 0) | (np.diff(piece) > 0)
        return np.cumsum(np.concatenate([[0], fresh]))[: len(times_s)]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The answers about n frames in order of time, by K tags.

    ``times_s``, ``scenes`` and ``observers`` are (n,), ``lapses_s`` (n - 1,), all others (n, K).
    ``lapses_s``: what passes on the video's clock between one frame and the next. ``observers``:
    the number of the model that answered. ``logits``: how far a confidence leans to its own
    verdict, >= 0. ``scene_weights``: of the confidences that one observer gave about a tag in one
    scene, each one's share; 0 where there is none.
    """

    times_s: Floats
    lapses_s: Floats
    scenes: NDArray[np.intp]
    observers: NDArray[np.intp]
    judged: Flags
    present: Flags
    has_confidence: Flags
    logits: Floats
    scene_weights: Floats

    def of(self, columns: Columns) -> Evidence:
        """Return the same for some of the tags."""
        return replace(
            self,
            judged=self.judged[:, columns],
            present=self.present[:, columns],
            has_confidence=self.has_confidence[:, columns],
            logits=self.logits[:, columns],
            scene_weights=self.scene_weights[:, columns],
        )

    def is_seen(self) -> Flags:
        """Return (K,): whether any answer says that the tag shows."""
        return np.asarray((self.present & self.judged).any(0))


def scene_starts(scenes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the frames with which a scene begins, given the scenes of all, ascending."""
    return np.flatnonzero(np.diff(scenes, prepend=-1))


def gather(
    observations: Iterable[Observation],
    tags: Sequence[str],
    warp: TimeWarp,
    *,
    scanned: bool = False,
) -> Evidence:
    """Return the observations, which come in any order, as arrays.

    ``scanned``: a smaller model scans, and is observer 0.
    """
    seen = sorted(observations, key=lambda observation: observation.time_s)
    column = {tag: number for number, tag in enumerate(tags)}
    shape = len(seen), len(tags)
    verdicts = [verdict for observation in seen for verdict in observation.verdicts.values()]
    places = [column[tag] for observation in seen for tag in observation.verdicts]
    at = (
        np.repeat(np.arange(len(seen)), [len(observation.verdicts) for observation in seen]),
        np.array(places, dtype=np.intp),
    )
    judged, present, confidences = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape)
    judged[at], present[at] = True, [verdict.present for verdict in verdicts]
    given = np.array([verdict.probability for verdict in verdicts], dtype=np.float64)
    confidences[at] = given  # not a number where there is none
    has_confidence = judged & ~np.isnan(confidences)
    leaning = np.where(present, confidences, 1 - confidences).clip(0.5, 1.0)
    with np.errstate(divide="ignore"):
        logits = np.minimum(np.log(leaning) - np.log1p(-leaning), MOST_LOGIT)
    times_s = np.array([observation.time_s for observation in seen], dtype=np.float64)
    scenes = warp.scenes(times_s)
    observers = np.array(
        [scanned and not observation.scanned for observation in seen], dtype=np.intp
    )
    return Evidence(
        times_s,
        warp.between(times_s[:-1], times_s[1:]),
        scenes,
        observers,
        judged,
        present,
        has_confidence,
        np.where(has_confidence, logits, 0.0),
        _scene_weights(has_confidence, scenes, observers),
    )


def _scene_weights(
    has_confidence: Flags, scenes: NDArray[np.intp], observers: NDArray[np.intp]
) -> Floats:
    weights, starts = np.zeros(has_confidence.shape), scene_starts(scenes)
    for observer in np.unique(observers):
        given = has_confidence & (observers == observer)[:, None]
        in_scene = np.add.reduceat(given, starts, axis=0, dtype=np.intp).repeat(
            np.diff(starts, append=len(given)), axis=0
        )
        weights += given / np.maximum(in_scene, 1)
    return weights
