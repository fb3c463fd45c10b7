"""Real camera footage: the search and the yardsticks over what two real networks saw of it, every
quarter of a second.

The tables are in ``footage_tables``; another folder of the same make serves as well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.oracle import Numbers, Oracle, Presence
from benchmarks.processes import spread
from benchmarks.scores import Cost, Results, Score, Summary, score
from benchmarks.strategies import SEARCH, YARDSTICKS, Strategy, searching
from benchmarks.tokens import SMALL, SMALL_LIST, RequestStyle
from vlm_engine.types import Cut, Span, VideoInfo

TABLES = Path(__file__).resolve().parent / "footage_tables"
NETWORKS = ("y11", "yx")
BY_EYE, BY_NETWORK = "by eye", "by network"
TOLD = "search, confidences"
BUDGET = 910
BUDGETED, TOLD_BUDGETED = (f"{name}, at most {BUDGET} calls per hour" for name in (SEARCH, TOLD))

_STEP_S = 0.25
_PRESENT = 0.4
_LEAST_PART_S = 0.5
"""Pieces of a span that unclear parts leave are dropped if they are shorter."""
_CLASSES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop "
    "sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,"
    "handbag,tie,suitcase,frisbee,skis,"
    "snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis "
    "racket,bottle,wine glass,cup,"
    "fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot "
    "dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell "
    "phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
).split(",")

Parts = Sequence[tuple[float, float]]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Programme:
    """One programme: the video as probing told it, its true cuts, the scores (rows x classes), and
    what is true.

    ``truth``: by kind, the true spans of each tag. ``unclear``: parts that count neither way, for
    the truth by eye.
    """

    info: VideoInfo
    cuts_s: Floats
    scores: Mapping[str, NDArray[np.float32]]
    truth: Mapping[str, Mapping[str, Parts]]
    unclear: Mapping[str, Parts]

    @classmethod
    def load(cls, folder: Path, name: str) -> Programme:
        """Read a programme from its files."""
        described = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))[name]
        with np.load(folder / f"{name}.npz") as arrays:
            scores = {key: np.nan_to_num(arrays[key].astype(np.float32)) for key in arrays.files}
        return cls(
            _info(name, described["info"]),
            np.array([shot["t0"] for shot in described["shots"][1:]]),
            scores,
            {BY_EYE: truth["by_eye"], BY_NETWORK: truth["by_network"]},
            truth["by_eye_unclear"],
        )

    def rows(self, times_s: Floats, every: int) -> NDArray[np.intp]:
        """Return the numbers of the rows nearest to these times, in the same shot, where only every
        so many rows exist.
        """
        count = len(self.scores[f"{NETWORKS[0]}_full"])
        exist = np.arange(0, count, every)
        bounds_s = np.concatenate([[0.0], self.cuts_s, [np.inf]])
        shot = np.searchsorted(self.cuts_s, times_s + 1e-6, side="right")
        first = np.searchsorted(exist * _STEP_S, bounds_s[shot] - 1e-6)
        last = np.searchsorted(exist * _STEP_S, bounds_s[shot + 1] - 1e-6) - 1
        nearest = np.rint(times_s / _STEP_S / every).astype(np.intp)
        inside = np.where(first <= last, nearest.clip(first, np.maximum(first, last)), nearest)
        return np.asarray(exist[inside.clip(0, len(exist) - 1)])

    def scored(self, spans: Sequence[Span], truth: str, cost: Cost) -> Score:
        """Score spans by one of the truths. What is unclear is cut out of findings and truth."""
        unclear = self.unclear if truth == BY_EYE else {}
        wanted = {
            tag: list(_without(parts, unclear.get(tag, ())))
            for tag, parts in self.truth[truth].items()
        }
        found = [
            Span(span.tag, start_s, end_s, span.confidence)
            for span in spans
            for start_s, end_s in _without([(span.start_s, span.end_s)], unclear.get(span.tag, ()))
        ]
        return score(found, wanted, cost)


def programmes(folder: Path) -> list[str]:
    """Return the programmes that the folder holds, by name; none where there is no such folder."""
    truth = folder / "truth.json"
    if not truth.exists():
        return []
    return [
        name
        for name in json.loads(truth.read_text(encoding="utf-8"))
        if (folder / f"{name}.npz").exists()
    ]


def _info(name: str, table: Mapping[str, Any]) -> VideoInfo:
    values = {
        key: table[key] for key in ("duration_s", "end_s", "width", "height", "frame_rate", "codec")
    }
    cuts = tuple(Cut(*cut) for cut in table["cuts"])
    return VideoInfo(
        f"{name}.mp4", name, **values, key_frames_s=tuple(table["key_frames_s"]), cuts=cuts
    )


def _without(parts: Parts, unclear: Parts) -> Iterator[tuple[float, float]]:
    """Yield the pieces of the parts that the unclear leaves, if they are not too short."""
    for start_s, end_s in parts:
        begun_s = start_s
        for from_s, to_s in sorted(unclear):
            if begun_s < to_s and from_s < end_s:
                if from_s - begun_s >= _LEAST_PART_S:
                    yield begun_s, from_s
                begun_s = to_s
        if end_s - begun_s >= _LEAST_PART_S:
            yield begun_s, end_s


class FootageModel(Oracle):
    """Answers as one network did. ``told``: with its confidences."""

    def __init__(
        self, programme: Programme, network: str, tags: Sequence[str], *, with_confidence: bool
    ) -> None:
        super().__init__(programme.info, tags)
        self._programme, self._network, self._with_confidence = programme, network, with_confidence
        self._columns = [_CLASSES.index(tag) for tag in tags]

    def judge(
        self, numbers: Numbers, style: RequestStyle = SMALL_LIST
    ) -> tuple[Presence, Floats | None]:
        return (
            self._read(numbers, "full", 1) if style.side > SMALL else self._read(numbers, "scan", 2)
        )

    def _read(self, numbers: Numbers, size: str, every: int) -> tuple[Presence, Floats | None]:
        rows = self._programme.rows(numbers / self.video.frame_rate, every)
        scores = self._programme.scores[f"{self._network}_{size}"][rows][:, self._columns]
        present = scores >= _PRESENT
        if not self._with_confidence:
            return present, None
        bounded = scores.clip(1e-3, 1 - 1e-3).astype(np.float64)
        odds = bounded / (1 - bounded) / (_PRESENT / (1 - _PRESENT))
        return present, odds / (1 + odds)


STRATEGIES: Mapping[str, tuple[bool, Strategy]] = {
    **{name: (False, strategy) for name, strategy in YARDSTICKS.items() if "upstream" not in name},
    SEARCH: (False, searching),
    TOLD: (True, searching),
    BUDGETED: (False, partial(searching, questions_per_hour=BUDGET)),
    TOLD_BUDGETED: (True, partial(searching, questions_per_hour=BUDGET)),
}
"""By name: whether the network tells its confidences, and what is run."""


def group(truth: str, network: str, programme: str) -> str:
    """Return the name of one row's results."""
    return f"{truth}, {network}, {programme}"


def measure(
    folder: Path,
    names: Sequence[str],
    processes: int,
    truths: Sequence[str] = (BY_EYE, BY_NETWORK),
    strategies: Sequence[str] = tuple(STRATEGIES),
) -> Results:
    """Results by (truth, network, programme) and strategy."""
    jobs = [(folder, strategies, *job) for job in product(names, NETWORKS, truths)]
    return {
        (group(truth, network, name), strategy): Summary([one])
        for (_, _, name, network, truth), scores in zip(
            jobs, spread(_run, jobs, processes), strict=True
        )
        for strategy, one in scores.items()
    }


def _run(job: tuple[Path, Sequence[str], str, str, str]) -> dict[str, Score]:
    folder, strategies, name, network, truth = job
    programme = Programme.load(folder, name)
    scores = {}
    for strategy in strategies:
        with_confidence, run = STRATEGIES[strategy]
        oracle = FootageModel(
            programme, network, tuple(programme.truth[truth]), with_confidence=with_confidence
        )
        begun_s = time.process_time()
        spans = run(oracle)
        cost = Cost.of(oracle.bill, programme.info.duration_s, time.process_time() - begun_s)
        scores[strategy] = programme.scored(spans, truth, cost)
    return scores


def programmes_in(results: Results) -> list[str]:
    """Return the names of the programmes that were measured."""
    return list(dict.fromkeys(name.rpartition(", ")[2] for name, _ in results))


def over(results: Results, truth: str, strategy: str) -> Summary:
    """All programmes together, by one truth."""
    starts = tuple(group(truth, network, "") for network in NETWORKS)
    return Summary(
        [
            one
            for (name, done), summary in results.items()
            if done == strategy and name.startswith(starts)
            for one in summary.scores
        ]
    )


def mean_f1(results: Results, truth: str, network: str, strategy: str) -> float:
    """Return the mean of the programmes' F1."""
    start = group(truth, network, "")
    return fmean(
        summary.f1
        for (name, done), summary in results.items()
        if done == strategy and name.startswith(start)
    )
