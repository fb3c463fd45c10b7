"""The simulated part of the benchmark: the search and the yardsticks over the same simulated
videos.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

from benchmarks.break_even import ways
from benchmarks.noisy_model import Noise, NoisyModel
from benchmarks.pair import scanned_by
from benchmarks.processes import spread
from benchmarks.scores import Cost, Results, Score, Summary, score
from benchmarks.strategies import (
    BUDGET,
    BUDGET_S,
    BUDGETED,
    BUDGETED_S,
    DENSE,
    MORE_EFFORT,
    PLAIN,
    PLAIN_WIDE,
    REC,
    SEARCH,
    YARDSTICKS,
    Strategy,
    frontier,
    on_deployments,
    searching,
    with_effort,
)
from benchmarks.world import World, draw_video
from benchmarks.yardsticks import rec

_Scored = tuple[str, str, str, Score]
_log = logging.getLogger(__name__)

NOISES = {"none": Noise(), "5 / 0.5 %": Noise(0.05, 0.005), "10 / 2 %": Noise(0.1, 0.02)}
MILD, HARSH = "5 / 0.5 %", "10 / 2 %"
ALL = "all noise levels"
USUAL, MANY_TAGS = "as a rule", "35 tags"
POOR_CUTS, NO_CUTS = "poor cut hints (recall .6, precision .4)", "no cut hints"
VERDICTS_ONLY, CALIBRATED, TOO_SURE = (
    "no confidences",
    "calibrated confidences",
    "confidences twice too sure",
)
SURE_LOOKALIKES = "calibrated confidences, but look-alikes are seen with full confidence"
UNINFORMED, SURE_NOES = (
    "confidences that say nothing",
    "calibrated confidences, but noes twice too sure",
)
LIFELIKE = "shots filled, fades, false hints, misses by tag, together"
LIFELIKE_TOLD = f"{LIFELIKE}, with modest yeses and sure noes"

ALL_TOLD = "calibrated confidences, all noise levels"
PAIRED = "a judge without mistakes"
SCANNED_MILD, SCANNED_HARSH = (
    f"scanned by a model with {MILD} mistakes",
    f"scanned by a model with {HARSH} mistakes",
)

_LONG_EVENT_S = 20.0


@dataclass(frozen=True, slots=True)
class Setting:
    """One world and its noises.

    ``long_events``: the user says so too. ``harder``: the search also with more effort.
    """

    name: str
    world: World
    noises: Mapping[str, Noise]
    long_events: bool = False
    harder: bool = False

    def strategies(self) -> dict[str, Strategy]:
        """Return the strategies that are compared in a sensitivity setting.

        All are told when there are no short events to find.
        """
        usual = {name: YARDSTICKS[name] for name in (DENSE, PLAIN, PLAIN_WIDE)}
        if self.long_events:
            longest = {
                REC: partial(rec, interval_s=16.0),
                SEARCH: partial(searching, shortest_event_s=_LONG_EVENT_S),
            }
            return {**usual, **longest}
        more = (
            {with_effort(MORE_EFFORT): partial(searching, effort=MORE_EFFORT)}
            if self.harder
            else {}
        )
        return {**usual, REC: rec, SEARCH: searching, **more}


def sensitivity(duration_s: float) -> tuple[Setting, ...]:
    """Worlds and models unlike the ones that the defaults were made for."""
    base = World(duration_s=duration_s)
    mild, both = {MILD: NOISES[MILD]}, {name: NOISES[name] for name in (MILD, HARSH)}

    def changed(**changes: Any) -> dict[str, Noise]:
        return {name: replace(noise, **changes) for name, noise in both.items()}

    no_short = (0.5, 0.5, 0.0)
    filling = replace(base, filled_shots=0.7, shot_median_s=6.0)
    lifelike = replace(filling, false_cuts=0.85, fades=0.3)
    errs_by_tag = Noise(false_alarm_rate=0.01, shot_share=0.4, misses_by_tag=(0.05, 0.5))
    return (
        Setting(USUAL, base, mild),
        Setting("5 tags", replace(base, tags=5), mild),
        Setting(MANY_TAGS, replace(base, tags=35), mild),
        Setting("no short events", replace(base, kinds=no_short), mild, long_events=True),
        Setting(
            "5 tags, no short events", replace(base, tags=5, kinds=no_short), mild, long_events=True
        ),
        Setting(POOR_CUTS, replace(base, cut_recall=0.6, false_cuts=1.4), mild),
        Setting(NO_CUTS, replace(base, cut_recall=0.0, false_cuts=0.0), mild),
        Setting(
            "errors 80 % shared by a shot", base, {MILD: replace(NOISES[MILD], shot_share=0.8)}
        ),
        Setting("error rates differ by tag", base, changed(tag_spread=1.0)),
        Setting(VERDICTS_ONLY, base, both),
        Setting(CALIBRATED, base, changed(confidence=1.0), harder=True),
        Setting(TOO_SURE, base, changed(confidence=2.0), harder=True),
        Setting(SURE_LOOKALIKES, base, changed(confidence=1.0, sure_shots=True), harder=True),
        Setting(UNINFORMED, base, changed(confidence=0.0), harder=True),
        Setting(SURE_NOES, base, changed(confidence=1.0, sure_noes=2.0), harder=True),
        Setting("1 tag", replace(base, tags=1), both),
        Setting("2 tags", replace(base, tags=2), both),
        Setting("2 tags, two hours", replace(base, tags=2, duration_s=2 * duration_s), mild),
        Setting("half of the cut hints false", replace(base, false_cuts=0.85), mild),
        Setting("three cuts of ten are fades", replace(base, fades=0.3), mild),
        Setting("errors 50 % shared by a shot", base, changed(shot_share=0.5)),
        Setting("seven events of ten fill shots", filling, both),
        Setting("the same, 2 tags", replace(filling, tags=2), both),
        Setting("misses from 5 to 50 % by tag, 40 % shared by a shot", base, {MILD: errs_by_tag}),
        Setting(LIFELIKE, lifelike, {MILD: errs_by_tag}, harder=True),
        Setting(
            LIFELIKE_TOLD,
            lifelike,
            {MILD: replace(errs_by_tag, confidence=0.7, sure_noes=2.0)},
            harder=True,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Job:
    setting: str
    world: World
    noises: Mapping[str, Noise]
    seed: tuple[int, ...]
    strategies: Mapping[str, Strategy]


@dataclass(frozen=True, slots=True)
class Plan:
    """Size of a simulation.

    ``duration_s``: None for lengths as they come (main part) and an hour (sensitivity).
    """

    seeds: Sequence[int] = (21, 22, 23, 24)
    shot_medians_s: Sequence[float] = (5.0, 12.0, 30.0)
    coincidences: Sequence[float] = (0.3, 0.6, 0.9)
    duration_s: float | None = None
    sensitivity_videos: int = 3
    processes: int = 2


@dataclass(frozen=True, slots=True)
class Simulated:
    """Results of every part.

    ``main``: by noise, with ``ALL`` for all together. ``calibrated``: the same videos and noises as
    ``ALL_TOLD``, from a model with calibrated confidences. ``worlds``: by sensitivity setting.
    ``ways``: by how much worse the model does, and way to ask. ``paired``: a small model scans.
    """

    main: Results
    calibrated: Results
    worlds: Results
    ways: Results
    paired: Results


def simulate(plan: Plan) -> Simulated:
    """Simulate everything."""
    parts = [
        list(part(plan))
        for part in (_main_jobs, _told_jobs, _sensitivity_jobs, _way_jobs, _paired_jobs)
    ]
    done = iter(_done([job for part in parts for job in part], plan.processes))
    first, *others = [[scored for _ in part for scored in next(done)] for part in parts]
    everything = [(ALL, strategy, summary) for _, _, strategy, summary in first]
    by_noise = [(noise, strategy, summary) for _, noise, strategy, summary in first]
    return Simulated(_summed([*by_noise, *everything]), *map(_by_setting, others))


def simulate_pairs(plan: Plan) -> Results:
    """Only the part with a small model that scans for a large one."""
    done = _done(list(_paired_jobs(plan)), plan.processes)
    return _by_setting([scored for part in done for scored in part])


def _done(jobs: Sequence[_Job], processes: int) -> list[list[_Scored]]:
    return _gathered(spread(_run, jobs, processes), len(jobs))


def _by_setting(scores: Iterable[_Scored]) -> Results:
    return _summed([(setting, strategy, summary) for setting, _, strategy, summary in scores])


def _gathered(results: Iterable[list[_Scored]], expected: int) -> list[list[_Scored]]:
    done = []
    for result in results:
        done.append(result)
        _log.info("simulated %d of %d videos", len(done), expected)
    return done


def _main_jobs(plan: Plan) -> Iterator[_Job]:
    strategies: dict[str, Strategy] = {
        **YARDSTICKS,
        **frontier(),
        **on_deployments(),
        BUDGETED: partial(searching, questions_per_hour=BUDGET),
        BUDGETED_S: partial(searching, seconds_per_hour=BUDGET_S),
    }
    for seed, share, median_s in product(plan.seeds, plan.coincidences, plan.shot_medians_s):
        world = World(cut_coincidence=share, shot_median_s=median_s, duration_s=plan.duration_s)
        yield _Job("", world, NOISES, (seed, round(10 * share), round(median_s)), strategies)


def _told_jobs(plan: Plan) -> Iterator[_Job]:
    """Return the videos of the main part, and a model with calibrated confidences."""
    noises = {name: replace(noise, confidence=1.0) for name, noise in NOISES.items()}
    for job in _main_jobs(plan):
        yield replace(job, setting=ALL_TOLD, noises=noises, strategies=frontier())


def _way_jobs(plan: Plan) -> Iterator[_Job]:
    """Return those of the first seed, for every way to ask, where the model errs."""
    erring = {name: NOISES[name] for name in (MILD, HARSH)}
    for job in _main_jobs(replace(plan, seeds=plan.seeds[:1])):
        for setting, share, strategies in ways():
            noises = {name: replace(noise, blind_share=share) for name, noise in erring.items()}
            yield replace(job, setting=setting, noises=noises, strategies=strategies)


def _paired_jobs(plan: Plan) -> Iterator[_Job]:
    """Return the videos of the main part: a judge that makes no mistakes, alone and with one that
    scans for it.
    """
    scanned: dict[str, Strategy] = {
        name: partial(scanned_by, noise=NOISES[noise])
        for name, noise in ((SCANNED_MILD, MILD), (SCANNED_HARSH, HARSH))
    }
    for job in _main_jobs(plan):
        yield replace(
            job,
            setting=PAIRED,
            noises={"none": NOISES["none"]},
            strategies={SEARCH: searching, **scanned},
        )


def _sensitivity_jobs(plan: Plan) -> Iterator[_Job]:
    for setting in sensitivity(plan.duration_s or 3600.0):
        for seed, number in product(plan.seeds, range(plan.sensitivity_videos)):
            yield _Job(
                setting.name, setting.world, setting.noises, (seed, number), setting.strategies()
            )


def _run(job: _Job) -> list[_Scored]:
    """(setting, noise, strategy, score) for every noise and strategy, on one video."""
    video = draw_video(job.world, job.seed)
    scores = []
    for noise, (name, strategy) in product(job.noises, job.strategies.items()):
        oracle = NoisyModel(video, job.noises[noise], (*job.seed, 7))
        begun_s = time.process_time()
        spans = strategy(oracle)
        cost = Cost.of(oracle.bill, video.info.duration_s, time.process_time() - begun_s)
        scores.append((job.setting, noise, name, score(spans, video.truth, cost)))
    return scores


def _summed(scores: Iterable[tuple[str, str, Score]]) -> Results:
    grouped: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for setting, strategy, summary in scores:
        grouped[setting, strategy].append(summary)
    return {key: Summary(summary) for key, summary in grouped.items()}
