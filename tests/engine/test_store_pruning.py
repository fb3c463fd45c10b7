"""The store stays within its size, and what goes is what nobody needed for longest."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from vlm_engine.store import AnswerStore, StoredAnswer, StoredSearch, Subject
from vlm_engine.types import Answer, Form, ImageShape, Verdict

HOUR_S = 3600.0
START_S = 1_800_000_000.0
SIZE = 400_000


def stored(look_ms: int) -> StoredAnswer:
    answer = Answer({"Goal": Verdict(True)}, os.urandom(400).hex(), "m", "gym")
    return StoredAnswer(look_ms, look_ms / 1000, Form.LIST, ImageShape(), answer)


def subject(video: int, model: str = "model") -> Subject:
    return Subject(f"oshash:{video}", model, "words")


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s


def fill(path: Path, clock: Clock, videos: range, *, hours_apart: float) -> None:
    """100 answers, about 65 kB, for each video."""
    with AnswerStore(path, clock=clock) as store:
        for video in videos:
            for n in range(100):
                store.add(subject(video, f"model {n % 2}"), stored(n))
            clock.now_s += hours_apart * HOUR_S


def kept(store: AnswerStore, video: int) -> int:
    return sum(len(store.answers(subject(video, f"model {n}"))) for n in range(2))


def in_use(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        pages, free, size = (
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)


def test_the_videos_not_used_for_longest_go_each_as_a_whole_and_so_does_the_room(
    tmp_path: Path,
) -> None:
    path, clock = tmp_path / "store.sqlite3", Clock()
    fill(path, clock, range(10), hours_apart=24)
    with AnswerStore(path, clock=clock) as store:
        assert kept(store, 0) == 100  # which is a use
    before = path.stat().st_size
    assert before > SIZE
    AnswerStore(path, max_bytes=SIZE, clock=clock).close()
    assert in_use(path) <= SIZE
    assert path.stat().st_size < before / 2 + SIZE / 2
    with AnswerStore(path, clock=clock) as store:
        counts = [kept(store, video) for video in range(10)]
    assert counts[0] == 100
    gone = counts[1:].index(100)
    assert counts[1:] == [0] * gone + [100] * (9 - gone)
    assert 3 <= gone <= 6


def test_what_was_used_within_the_last_hour_stays_even_beyond_the_size(tmp_path: Path) -> None:
    path, clock = tmp_path / "store.sqlite3", Clock()
    fill(path, clock, range(10), hours_apart=0.01)
    with AnswerStore(path, max_bytes=SIZE, clock=clock) as store:
        assert [kept(store, video) for video in range(10)] == [100] * 10


def test_a_video_on_which_work_goes_on_for_hours_stays(tmp_path: Path) -> None:
    """Nothing reads what is known of it: its answers alone say that it is in use."""
    path, clock = tmp_path / "store.sqlite3", Clock()
    with AnswerStore(path, max_bytes=SIZE, clock=clock) as store:
        for n in range(2000):
            store.add(subject(1), stored(n))
            clock.now_s += 60
        assert len(store.answers(subject(1))) == 2000


def test_a_long_run_prunes_as_it_goes(tmp_path: Path) -> None:
    path, clock = tmp_path / "store.sqlite3", Clock()
    with AnswerStore(path, max_bytes=SIZE, clock=clock) as store:
        for video in range(20):
            for n in range(100):
                store.add(subject(video), stored(n))
            clock.now_s += HOUR_S
        assert len(store.answers(subject(19))) == 100
    assert in_use(path) < 2 * SIZE


def test_without_a_size_nothing_ever_goes(tmp_path: Path) -> None:
    path, clock = tmp_path / "store.sqlite3", Clock()
    fill(path, clock, range(10), hours_apart=24)
    with AnswerStore(path, clock=clock) as store:
        assert [kept(store, video) for video in range(10)] == [100] * 10


def test_the_tables_of_others_stay_whatever_the_size(tmp_path: Path) -> None:
    path, clock = tmp_path / "store.sqlite3", Clock()
    fill(path, clock, range(3), hours_apart=24)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE journal_markers (title TEXT)")
        db.execute("INSERT INTO journal_markers VALUES (?)", ("Foul" * 1000,))
    AnswerStore(path, max_bytes=1, clock=clock).close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM journal_markers").fetchall() == [(1,)]
        assert db.execute("SELECT count(*) FROM answer").fetchall() == [(0,)]


def test_searches_go_with_their_video(tmp_path: Path) -> None:
    path, clock = tmp_path / "store.sqlite3", Clock()
    search = StoredSearch(("Goal", "Überzahl"), "quick")
    fill(path, clock, range(1), hours_apart=24)
    with AnswerStore(path, clock=clock) as store:
        store.add_search(subject(0), search)
        store.add_search(subject(0), search)
        assert store.searches(subject(0)) == [search]
    clock.now_s += 24 * HOUR_S
    with AnswerStore(path, max_bytes=1, clock=clock) as store:
        assert store.searches(subject(0)) == []
