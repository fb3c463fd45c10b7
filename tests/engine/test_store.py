"""Stored answers come back while others write; those needed least go first."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.stores import stored, subject
from vlm_engine.errors import StoreError
from vlm_engine.store import AnswerStore, PairCounts, PairKey, StoredSearch
from vlm_engine.types import Form, Verdict

HOUR_S = 3600.0
SIZE = 400_000


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "übung.sqlite3"


@pytest.fixture
def store() -> Iterator[AnswerStore]:
    with AnswerStore(None) as in_memory:
        yield in_memory


def test_what_was_written_is_read_back_after_opening_again(path):
    wanted = [
        stored(1000, "", Foul=Verdict(True, 0.875), Turnover=Verdict(False)),
        stored(2000, "", Foul=Verdict(False, 0.25)),
    ]
    with AnswerStore(path) as store:
        for answer in wanted:
            store.add(subject(1), answer)
    with AnswerStore(path) as store:
        assert store.answers(subject(1)) == wanted


@pytest.mark.parametrize("other", [subject(2), subject(1, "other"), subject(1, wording="other")])
def test_another_video_model_or_wording_has_no_answers(store, other):
    store.add(subject(1), stored(1000))
    assert store.answers(other) == []
    assert len(store.answers(subject(1))) == 1


@pytest.mark.parametrize(
    ("verdicts", "raw"),
    [
        ({}, ""),
        (
            {"Foul": Verdict(False, 0.1 + 0.2), "Überzahl\n": Verdict(True, 5e-324)},
            "two\nlines \x00 and \ud83c half a letter",
        ),
        (
            {f"Play {n}": Verdict(n % 2 == 0, None if n % 3 else n / 300) for n in range(300)},
            "x" * 100_000,
        ),
    ],
)
def test_every_answer_comes_back_as_it_was(store, verdicts, raw):
    answer = replace(stored(1).answer, verdicts=verdicts, raw=raw)
    wanted = replace(stored(1), answer=answer, form=Form.VERDICTS)
    store.add(subject(1), wanted)
    assert store.answers(subject(1)) == [wanted]


@pytest.mark.parametrize("count", [1, 17, 100])
def test_many_at_once_are_told_apart_and_keep_their_order(store, count):
    subjects = [subject(number % 40) for number in range(count)]
    rows = [(about, stored(number, "")) for number, about in enumerate(subjects)]
    store.add_all(rows)
    store.add_all([])
    several = [*subjects, subject(0, wording="other words"), subject(99)]
    wanted = [[answer for about, answer in rows if about == each] for each in several]
    assert store.answers_to(several) == wanted
    assert store.answers_to([]) == []


def test_answers_written_together_are_all_there_or_none(store):
    good, bad = stored(1000), stored(2000)
    store.add_all([(subject(1), good), (subject(2), bad), (subject(1), bad)])
    unfit = replace(good, frame_s=None)  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        store.add_all([(subject(2), good), (subject(1), unfit)])
    assert store.answers_to([subject(2), subject(1)]) == [[bad], [good, bad]]


def test_several_threads_and_connections_lose_nothing(path):
    def write(part: int) -> None:
        with AnswerStore(path) as store:
            for number in range(20):
                store.add(subject(1), stored(part * 1000 + number))

    threads = [threading.Thread(target=write, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with AnswerStore(path) as store:
        assert len(store.answers(subject(1))) == 80


def test_all_that_was_looked_up_counts_as_used(path):
    clock = Clock()
    subjects, first_s = [subject(number) for number in range(40)], clock.now_s
    with AnswerStore(path, clock=clock) as store:
        store.add_all([(about, stored(0)) for about in subjects])
        clock.now_s += 1000
        store.answers_to(subjects[:20])
        store.add_all([(about, stored(1)) for about in subjects[20:30]])
    with closing(sqlite3.connect(path)) as db:
        used = [used for (used,) in db.execute("SELECT used FROM answer_subject ORDER BY id")]
    assert used == [clock.now_s] * 30 + [first_s] * 10


def fill(path: Path, clock: Clock, videos: int, *, hours_apart: float) -> None:
    """Store 100 answers, about 65 kB, about each video."""
    with AnswerStore(path, clock=clock) as store:
        for video in range(videos):
            models = [subject(video, f"model {n % 2}") for n in range(100)]
            store.add_all([(about, stored(n)) for n, about in enumerate(models)])
            clock.now_s += hours_apart * HOUR_S


def kept(store: AnswerStore, video: int) -> int:
    return sum(len(store.answers(subject(video, f"model {n}"))) for n in range(2))


def in_use(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        names = ("page_count", "freelist_count", "page_size")
        pages, free, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
        return int((pages - free) * size)


def test_the_videos_not_used_for_longest_go_each_as_a_whole(path):
    clock = Clock()
    fill(path, clock, 10, hours_apart=24)
    with AnswerStore(path, clock=clock) as store:
        assert kept(store, 0) == 100  # which is a use
    before = path.stat().st_size
    assert before > SIZE
    AnswerStore(path, max_bytes=SIZE, clock=clock).close()
    assert in_use(path) <= SIZE
    assert path.stat().st_size < before / 2 + SIZE / 2
    with AnswerStore(path, clock=clock) as store:
        first, *others = (kept(store, video) for video in range(10))
    gone = others.index(100)
    assert first == 100
    assert others == [0] * gone + [100] * (9 - gone)
    assert 3 <= gone <= 6


@pytest.mark.parametrize(("max_bytes", "hours_apart"), [(SIZE, 0.01), (None, 24)])
def test_what_was_used_lately_stays_and_all_without_a_limit(path, max_bytes, hours_apart):
    clock = Clock()
    fill(path, clock, 10, hours_apart=hours_apart)
    with AnswerStore(path, max_bytes=max_bytes, clock=clock) as store:
        assert [kept(store, video) for video in range(10)] == [100] * 10


def test_a_long_run_prunes_as_it_goes_but_not_what_it_works_on(path):
    """Nothing reads what is known of video 99: its answers alone say that it is in use."""
    clock = Clock()
    with AnswerStore(path, max_bytes=SIZE, clock=clock) as store:
        for video in range(20):
            for n in range(50):
                store.add_all([(subject(video), stored(n)), (subject(99), stored(n, ""))])
                clock.now_s += 60
        assert len(store.answers(subject(19))) == 50
        assert len(store.answers(subject(99))) == 1000
    assert in_use(path) < 2 * SIZE


def test_searches_go_with_their_video_and_tables_of_others_stay(path):
    clock, search = Clock(), StoredSearch(("Goal", "Überzahl"), "quick")
    fill(path, clock, 3, hours_apart=24)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE journal_markers (title TEXT)")
        db.execute("INSERT INTO journal_markers VALUES (?)", ("Foul" * 1000,))
    with AnswerStore(path, clock=clock) as store:
        store.add_search(subject(0), search)
        store.add_search(subject(0), search)
        assert store.searches(subject(0)) == [search]
    clock.now_s += 24 * HOUR_S
    with AnswerStore(path, max_bytes=1, clock=clock) as store:
        assert store.searches(subject(0)) == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM journal_markers").fetchall() == [(1,)]
        assert db.execute("SELECT count(*) FROM answer").fetchall() == [(0,)]


def test_sizes_are_those_of_finished_searches_latest_first(path):
    clock = Clock()
    with AnswerStore(path, clock=clock) as store:
        for video, looks in ((subject(1), 3), (subject(2), 5), (subject(1, "other"), 7)):
            clock.now_s += HOUR_S
            store.add_all([(video, stored(1500 * look)) for look in range(1, looks + 1)])
            store.add_search(video, StoredSearch(("Foul",), "settings"))
        store.add(subject(3), stored(9000))
        assert store.search_sizes("model", "words") == [(7.5, 5), (4.5, 3)]
        assert store.search_sizes("model", "words", most=1) == [(7.5, 5)]
        assert store.search_sizes("model", "other words") == []


def test_pairs_add_up_and_outlive_their_videos(tmp_path):
    path, key = tmp_path / "store.sqlite3", PairKey("512 or 1024", "Foul", True)
    with AnswerStore(path) as store:
        for number in range(40):
            store.add_compared(subject(number), stored(1), {key: PairCounts(1, 0, 0, 1)})
            store.add_terms(subject(number), "settings", "terms")
        assert store.pairs("model", "words") == {key: PairCounts(40, 0, 0, 40)}
        assert store.pairs("model", "other words") == {}
        assert store.terms(subject(3), "settings") == ["terms"]
        assert len(store.answers(subject(3))) == 1
    with AnswerStore(path, max_bytes=1, clock=lambda: 4e9) as store:
        assert store.answers(subject(3)) == store.terms(subject(3), "settings") == []
        assert store.pairs("model", "words") == {key: PairCounts(40, 0, 0, 40)}


def test_a_style_is_set_once(tmp_path):
    path = tmp_path / "store.sqlite3"
    with AnswerStore(path) as one, AnswerStore(path) as other:
        assert one.style("model", "words", "list") is None
        assert one.set_style("model", "words", "list", "other")
        assert not other.set_style("model", "words", "list", "other")
        assert other.style("model", "words", "list") == "other"
        assert other.set_style("model", "words", "list", "usual")
