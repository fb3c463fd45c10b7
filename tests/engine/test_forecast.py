"""The forecast of a run: its size, its time, and the words for it."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from datetime import datetime

import pytest

from vlm_engine.checkup.forecast import (
    EndpointSpeed,
    Forecast,
    ModelLoad,
    Workload,
    forecast,
    time_text,
)
from vlm_engine.config.models import SearchConfig
from vlm_engine.search.scan import plan_scan
from vlm_engine.types import Cut, QuestionCost, VideoInfo

SEARCH = SearchConfig()
LENGTHS_S = (5.0, 1800.0, 40.0, 600.0, 240.0, 3600.0, 90.0, 1200.0)
QUEUE = Workload([ModelLoad(8)], LENGTHS_S)
FAST = EndpointSpeed("LM Studio", 4, 0.5, 0.8)
SLOW = EndpointSpeed("Ollama", 1, 4.0, 4.0, 1)
EVENING = datetime(2026, 12, 1, 22, 58)


def time_of(load=QUEUE, endpoints=(FAST,), search=SEARCH):
    seconds = forecast(load, endpoints, search).seconds
    assert seconds is not None
    return seconds


def video(length_s, cuts):
    times = [Cut(length_s * (number + 1) / (cuts + 1), 0.9) for number in range(cuts)]
    return VideoInfo("a.mp4", "a", length_s, length_s, 640, 360, 25.0, "h264", cuts=tuple(times))


def test_more_scenes_take_longer_and_in_proportion():
    seconds = [time_of(replace(QUEUE, scenes=scenes)) for scenes in (8, 80, 800, 8000)]
    assert seconds == sorted(seconds)
    assert seconds[2] / seconds[1] == pytest.approx(10, rel=0.05)
    assert seconds[3] / seconds[2] == pytest.approx(10, rel=0.02)


def test_faster_endpoints_take_less():
    speeds = [replace(FAST, alone_s=s, full_s=1.6 * s) for s in (0.25, 0.5, 1.0, 2.0)]
    seconds = [time_of(endpoints=[speed]) for speed in speeds]
    assert seconds == sorted(seconds)
    assert seconds[-1] / seconds[0] == pytest.approx(8, rel=0.1)


def test_more_slots_take_less_until_they_share_the_server():
    parallel = replace(FAST, full_s=FAST.alone_s)
    seconds = [time_of(endpoints=[replace(parallel, slots=slots)]) for slots in (1, 2, 4, 8)]
    assert seconds == sorted(seconds, reverse=True)
    shared = replace(FAST, full_s=4 * FAST.alone_s)
    alone, together = (time_of(endpoints=[replace(shared, slots=slots)]) for slots in (1, 8))
    assert together == pytest.approx(alone, rel=0.03)


def test_unlike_endpoints_share_the_work_by_speed():
    both = time_of(endpoints=[FAST, SLOW])
    rate = FAST.per_s + SLOW.per_s
    assert both == pytest.approx(time_of() * FAST.per_s / rate, rel=0.03)


@pytest.mark.parametrize("slow_s", [4.0, 20.0, 200.0])
@pytest.mark.parametrize("lengths_s", [LENGTHS_S, (6.0,) * 30])
def test_a_slow_endpoint_beside_a_fast_one_does_no_harm(slow_s, lengths_s):
    load = replace(QUEUE, lengths_s=lengths_s)
    slow = replace(SLOW, alone_s=slow_s, full_s=slow_s)
    assert time_of(load, [FAST, slow]) <= 1.05 * time_of(load)


def test_fallback_endpoints_count_only_alone():
    fallback = replace(SLOW, is_fallback=True)
    assert time_of(endpoints=[FAST, fallback]) == time_of()
    assert time_of(endpoints=[fallback]) == time_of(endpoints=[SLOW])


def test_a_slow_decoder_sets_the_pace():
    load = replace(QUEUE, frame_s=0.5)
    frames = forecast(load, [FAST], SEARCH).questions
    assert time_of(load) > frames * 0.5 / load.at_once
    assert time_of(replace(load, frame_s=0.001)) == pytest.approx(time_of(), rel=0.05)


def test_earlier_videos_change_the_number_of_questions():
    usual = forecast(QUEUE, [FAST], SEARCH)
    ratios = {}
    for factor in (0.5, 1.0, 2.0):
        of_each = [forecast(replace(QUEUE, lengths_s=[s]), [], SEARCH).questions for s in LENGTHS_S]
        earlier = [(s, round(factor * q)) for s, q in zip(LENGTHS_S, of_each, strict=True)] * 10
        known = forecast(replace(QUEUE, models=[ModelLoad(8, earlier)]), [FAST], SEARCH)
        ratios[factor] = known.questions / usual.questions
        assert known.high_s / known.seconds < usual.high_s / usual.seconds
    assert ratios == pytest.approx({0.5: 0.5, 1.0: 1.0, 2.0: 2.0}, rel=0.05)


def test_one_earlier_video_counts_for_half():
    twice = 2 * forecast(replace(QUEUE, lengths_s=[600.0]), [], SEARCH).questions
    known = forecast(replace(QUEUE, models=[ModelLoad(8, [(600.0, twice)])]), [], SEARCH)
    assert known.questions / forecast(QUEUE, [], SEARCH).questions == pytest.approx(1.5, rel=0.02)


def test_probed_videos_tell_the_frames_of_a_scan():
    still, busy = video(1800.0, 0), video(1800.0, 900)
    few, many = (
        forecast(replace(QUEUE, lengths_s=[1800.0], probed=[each]), [], SEARCH).questions
        for each in (still, busy)
    )
    more = len(plan_scan(busy, 12.0, math.inf)) - len(plan_scan(still, 12.0, math.inf))
    assert 0.6 * more < many - few < more  # a denser scan leaves less for later


@pytest.mark.parametrize(
    "search",
    [
        SearchConfig(effort=2.0),
        SearchConfig(frame_interval_s=2.0),
        SearchConfig(shortest_event_s=3.0),
    ],
)
def test_settings_for_more_questions_take_longer(search):
    assert time_of(search=search) > 1.1 * time_of()


def test_limits_of_the_settings_are_kept():
    long = replace(QUEUE, lengths_s=[3600.0] * 4)
    few = forecast(long, [FAST], SearchConfig(questions_per_hour=300))
    assert few.questions / 4 == pytest.approx(300, rel=0.05)
    short = forecast(long, [FAST], SearchConfig(seconds_per_hour=60.0))
    assert short.model_s / 4 == pytest.approx(60, rel=0.15)


def test_more_tags_and_more_models_take_more_questions():
    counts = [
        forecast(replace(QUEUE, models=models), [], SEARCH).questions
        for models in ([ModelLoad(2)], [ModelLoad(35)], [ModelLoad(35), ModelLoad(35)])
    ]
    assert counts[0] < counts[1]
    assert counts[2] == pytest.approx(2 * counts[1], abs=1)


def test_pictures_are_one_question_for_each_model():
    load = Workload([ModelLoad(8), ModelLoad(3)], pictures=500)
    found = forecast(load, [FAST, SLOW], SEARCH)
    assert (found.scenes, found.pictures, found.questions) == (0, 500, 1000)
    assert found.seconds == pytest.approx(found.model_s / 2)
    cheap = replace(FAST, cost=QuestionCost(call_s=0.4, picture_s=0.001, answer_token_s=0.01))
    assert time_of(load, [cheap]) < time_of(load, [FAST])


def test_a_sample_of_the_lengths_stands_for_all():
    whole = Workload([ModelLoad(8)], LENGTHS_S * 50)
    sample = replace(whole, lengths_s=LENGTHS_S, scenes=400)
    known, guessed = (forecast(load, [FAST], SEARCH) for load in (whole, sample))
    assert guessed.questions == pytest.approx(known.questions, rel=0.01)
    assert guessed.seconds == pytest.approx(known.seconds, rel=0.05)
    assert guessed.high_s / guessed.seconds > known.high_s / known.seconds


def test_an_empty_queue_takes_no_time():
    found = forecast(Workload([ModelLoad(8)]), [FAST], SEARCH)
    assert found == Forecast(0, 0.0, 0, 0, 0.0, 0.0, 0.0, 0.0)
    assert time_text(found, EVENING) == "nothing to do"


def test_without_endpoints_there_is_no_time():
    found = forecast(QUEUE, [], SEARCH)
    assert found.questions > 0 and found.seconds is None
    assert time_text(found, EVENING) == "no endpoint works, so no time can be told"


@pytest.mark.parametrize("length_s", [0.0, 0.04, 1.0, 40 * 3600.0])
def test_any_length_has_a_time(length_s):
    found = forecast(replace(QUEUE, lengths_s=[length_s]), [FAST, SLOW], SEARCH)
    assert found.questions >= 1
    assert 0 < found.low_s < found.seconds < found.high_s


def test_two_thousand_scenes_are_played_in_part():
    load = replace(QUEUE, lengths_s=[10.0 + 1.8 * number for number in range(2000)])
    processor_s = time.process_time()
    found = forecast(load, [FAST, SLOW, replace(FAST, slots=16)], SEARCH)
    assert time.process_time() - processor_s < 5
    assert found.questions > 500_000


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "about 10 seconds, so done at 22:58"),
        (38, "about 40 seconds (30 to 50 seconds), so done at 22:59"),
        (61, "about 1 minute (50 seconds to 1 minute), so done at 22:59"),
        (420, "about 7 minutes (5 to 9 minutes), so done at 23:05"),
        (2400, "about 40 minutes (30 to 50 minutes), so done at 23:40"),
        (3300, "about 55 minutes (40 minutes to 1 hour 10 minutes), so done at 23:55"),
        (3600, "about 1 hour (45 minutes to 1 hour 20 minutes), so done tomorrow at 00:00"),
        (9000, "about 2½ hours (2 to 3 hours), so done tomorrow at 01:30"),
        (90_000, "about 25 hours (19 to 32 hours), so done on Thursday, 3 December, at 00:00"),
        (900_000, "about 10½ days (8 to 13½ days), so done on Saturday, 12 December, at 09:00"),
    ],
)
def test_a_time_is_told_as_people_say_it(seconds, words):
    found = Forecast(1, 60.0, 0, 10, seconds, seconds / 1.3, seconds * 1.3, seconds)
    assert time_text(found, EVENING) == words
