"""Faults of the store's file: each is real, ends in a message with a remedy, and loses nothing."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.database_faults import LOCKER, files_no_longer_than, locked_by_another_process
from tests.disk_faults import as_somebody_without_rights, small_file_system
from tests.engine.stores import filled, stored, subject
from vlm_engine.errors import StoreError
from vlm_engine.store import (
    AnswerStore,
    PairCounts,
    PairKey,
    SharedLock,
    StoredAnswer,
    StoredSearch,
)

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


def refused(complaint: str) -> AbstractContextManager[object]:
    return pytest.raises(StoreError, match=rf"store\.sqlite3: {complaint}")


def damaged_files(path: Path) -> list[Path]:
    found = path.parent.glob(f"{path.name}.damaged-*")
    return sorted(each for each in found if not each.name.endswith("-wal"))


def cut_to_a_stump(data: bytearray) -> None:
    del data[300:]


def cut_off_the_end(data: bytearray) -> None:
    del data[-100:]


def header_overwritten(data: bytearray) -> None:
    data[:200] = b"only words " * 18 + b"--"


def middle_overwritten(data: bytearray) -> None:
    middle = len(data) // PAGE // 2 * PAGE
    data[middle : middle + 3 * PAGE] = os.urandom(3 * PAGE)


def everything_overwritten(data: bytearray) -> None:
    data[:] = os.urandom(len(data))


def damage(path: Path, change: Callable[[bytearray], None], *, silently: bool = False) -> bytes:
    """Damage the file and return it. ``silently``: as a disk that rots, which tells nobody."""
    before, data = path.stat(), bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    if silently:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return bytes(data)


def overwrite_page(path: Path, number: int) -> None:
    with path.open("r+b") as file:
        file.seek(number * PAGE)
        file.write(os.urandom(PAGE))


def count(store: AnswerStore, videos: int = 10) -> int:
    return sum(len(store.answers(subject(number))) for number in range(videos))


@pytest.mark.parametrize(
    "change", [cut_to_a_stump, header_overwritten, middle_overwritten, everything_overwritten]
)
def test_a_damaged_file_is_set_aside_and_work_goes_on(path, caplog, change):
    by_video = filled(path)
    data = damage(path, change)
    with AnswerStore(path) as store:
        (aside,) = damaged_files(path)
        assert str(aside) in caplog.text
        assert aside.read_bytes() == data
        for number, answers in enumerate(by_video):
            assert all(answer in answers for answer in store.answers(subject(number)))
        store.add(subject(99), stored(1))
    with AnswerStore(path) as store:
        assert len(store.answers(subject(99))) == 1
        assert damaged_files(path) == [aside]


def test_what_can_be_read_is_kept_and_so_are_tables_of_others(path):
    filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE journal_markers (id INTEGER PRIMARY KEY, title TEXT NOT NULL)")
        db.execute("CREATE INDEX journal_titles ON journal_markers (title)")
        db.executemany("INSERT INTO journal_markers (title) VALUES (?)", [("Foul",), ("Goal",)])
    damage(path, middle_overwritten)
    with AnswerStore(path) as store:
        assert 0.8 * 500 < count(store) < 500
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT * FROM journal_markers").fetchall() == [(1, "Foul"), (2, "Goal")]
        assert db.execute("SELECT 1 FROM sqlite_master WHERE name = 'journal_titles'").fetchone()
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("row", [0, 499])
def test_an_unreadable_page_costs_what_is_on_it_and_no_more(path, row):
    answers = [answer for of_video in filled(path) for answer in of_video]
    with closing(sqlite3.connect(path)) as db:
        said = [said for (said,) in db.execute("SELECT said FROM answer ORDER BY id")]
    data = path.read_bytes()
    number = data.index(said[row][:500]) // PAGE
    page = data[number * PAGE : (number + 1) * PAGE]
    lost = sum(each[:500] in page or each[-500:] in page for each in said)
    overwrite_page(path, number)
    with AnswerStore(path) as store:
        kept = [answer for video in range(10) for answer in store.answers(subject(video))]
    assert [answer for answer in answers if answer in kept] == kept
    assert 0 < lost < 10
    assert len(kept) >= len(answers) - lost


def test_answers_of_a_lost_video_never_become_anothers(path):
    filled(path, videos=3)
    with closing(sqlite3.connect(path)) as db, db:
        root = "SELECT rootpage FROM sqlite_master WHERE name = 'answer_subject'"
        (page,) = db.execute(root).fetchone()
    overwrite_page(path, page - 1)
    with AnswerStore(path) as store:
        for number in range(100, 103):
            store.add(subject(number), stored(77_000))
            assert [answer.look_ms for answer in store.answers(subject(number))] == [77_000]


@pytest.mark.parametrize("moved", [False, True])
def test_a_kill_while_a_file_is_set_aside_is_followed_up(path, moved):
    """After the copy is complete: the damaged file moves, then the copy takes its place."""
    filled(path, videos=2)
    with AnswerStore(path) as store:
        answers = store.answers(subject(1))
    copy = path.with_name("store.sqlite3.mended")
    shutil.copy(path, copy)
    damage(path, header_overwritten)
    if moved:
        path.rename(path.with_name("store.sqlite3.damaged-20260101-000000"))
    with AnswerStore(path) as store:
        assert store.answers(subject(1)) == answers
    assert len(damaged_files(path)) == 1
    assert not copy.exists()


def test_rot_inside_an_answer_is_no_answer(path, caplog):
    filled(path, videos=1, answers=3)
    with closing(sqlite3.connect(path)) as db, db:
        (said,) = db.execute("SELECT said FROM answer WHERE id = 2").fetchone()
        rotten = said[:100] + bytes([said[100] ^ 1]) + said[101:]
        db.execute("UPDATE answer SET said = ? WHERE id = 2", (rotten,))
    with AnswerStore(path) as store:
        assert [answer.look_ms for answer in store.answers(subject(0))] == [0, 2]
    assert "1 answers cannot be read any more; they are asked for again" in caplog.text


def test_rot_in_a_text_stops_nothing(path):
    (answers,) = filled(path, videos=1, answers=3)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE answer SET endpoint = CAST(x'67ff6d' AS TEXT) WHERE id = 2")
    for _ in range(2):
        with AnswerStore(path) as store:
            found = [answer.answer.raw for answer in store.answers(subject(0))]
        assert found == [answer.answer.raw for answer in answers]
        damage(path, cut_off_the_end)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("answer SET frame_s = 'x' WHERE id = 2", (1, 1, 1)),
        ("answer SET frame_s = 9e999 WHERE id = 2", (1, 1, 1)),
        ("answer_search SET tags = '['", (2, 0, 1)),
        ("answer_search SET tags = '[3, null]'", (2, 0, 1)),
        ("answer_pair SET both = 'x'", (2, 1, 0)),
        ("answer_pair SET both = x'00'", (2, 1, 0)),
        ("answer_pair SET only_usual = -1", (2, 1, 0)),
        ("answer_pair SET only_other = 1000000", (2, 1, 0)),
        ("answer_pair SET frames = 9e999", (2, 1, 0)),
    ],
)
def test_a_row_that_makes_no_sense_is_left_out(path, change, left):
    one, pair = subject(1), PairKey("small or full", "Foul", True)
    with AnswerStore(path) as store:
        store.add(one, stored(1000))
        store.add_compared(one, stored(2000), {pair: PairCounts(1, 1)})
        store.add_search(one, StoredSearch(("Foul",), "settings"))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE {change}")
    with AnswerStore(path) as store:
        found = store.answers(one), store.searches(one), store.pairs(one.model, one.wording)
    assert tuple(map(len, found)) == left


def test_damage_found_amid_the_work_is_repaired_at_next_start(path):
    filled(path)
    damage(path, middle_overwritten, silently=True)
    complaint = refused(r"the file is damaged\. Start again")
    with AnswerStore(path) as store, complaint:
        count(store)
    assert not damaged_files(path)
    with AnswerStore(path) as store:
        assert count(store) > 400
    assert len(damaged_files(path)) == 1


def test_a_clean_file_is_not_checked_again_and_a_changed_one_is(path, caplog):
    filled(path)
    damage(path, middle_overwritten, silently=True)
    AnswerStore(path).close()
    assert not damaged_files(path)
    os.utime(path)
    AnswerStore(path).close()
    assert len(damaged_files(path)) == 1
    assert caplog.records[0].levelno == logging.WARNING


@contextmanager
def shared(path: Path) -> Iterator[None]:
    lock = SharedLock(path)
    yield
    lock.release()


@contextmanager
def opened_by_a_stranger(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT count(*) FROM answer_subject").fetchone()
        yield


@pytest.mark.parametrize(
    ("opened", "change", "complaint"),
    [
        (shared, header_overwritten, "the file is damaged"),
        (opened_by_a_stranger, middle_overwritten, "another program keeps it locked"),
    ],
)
def test_a_file_that_another_has_open_is_not_set_aside(
    path,
    opened,
    change,
    complaint,
):
    filled(path)
    with opened(path):
        data = damage(path, change)
        with refused(complaint):
            AnswerStore(path)
        assert path.read_bytes() == data
        assert not damaged_files(path)
    with AnswerStore(path):
        assert len(damaged_files(path)) == 1


CANNOT_WRITE = r"it cannot be written\. Let the user"


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with refused(CANNOT_WRITE):
        AnswerStore(tmp_path / "file" / "store.sqlite3")


@pytest.mark.parametrize("existing", [False, True])
def test_a_read_only_folder_is_named_with_the_remedy(public, existing):
    path = public / "data" / "store.sqlite3"
    path.parent.mkdir()
    (answers,) = filled(path, videos=1) if existing else [[]]
    for file in path.parent.iterdir():
        file.chmod(0o444)
    path.parent.chmod(0o555)
    with as_somebody_without_rights(), refused(CANNOT_WRITE):
        AnswerStore(path)
    path.parent.chmod(0o755)
    for file in path.parent.iterdir():
        file.chmod(0o644)
    with AnswerStore(path) as store:
        assert store.answers(subject(0)) == answers


def test_a_read_only_file_is_named_with_the_remedy(public):
    path = public / "store.sqlite3"
    filled(path, videos=1)
    path.chmod(0o444)
    public.chmod(0o777)
    Path(f"{path}.lock").chmod(0o666)
    with as_somebody_without_rights(), refused(CANNOT_WRITE), AnswerStore(path) as store:
        store.add(subject(0), stored(1))


def add_many(store: AnswerStore, added: list[StoredAnswer]) -> None:
    for number in range(2000):
        answer = stored(number)
        store.add(subject(0), answer)
        added.append(answer)


FULL = r"its disk is full.* Make room there"


def test_a_full_disk_is_named_and_all_that_was_stored_is_kept(path):
    added: list[StoredAnswer] = []
    with AnswerStore(path) as store:
        with files_no_longer_than(1_000_000), refused(FULL):
            add_many(store, added)
        assert len(added) > 50
        assert store.answers(subject(0)) == added
        store.add(subject(0), stored(5000))  # as soon as there is room again
    with AnswerStore(path) as store:
        assert store.answers(subject(0))[:-1] == added
    assert not damaged_files(path)


def test_a_full_file_system_is_named_and_nothing_is_lost(tmp_path):
    path, added = tmp_path / "store.sqlite3", list[StoredAnswer]()
    with small_file_system(tmp_path):
        for answers in (added, []):
            with AnswerStore(path) as store, refused(FULL):
                add_many(store, answers)
        assert len(added) > 50
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT count(*) FROM answer").fetchone()[0] >= len(added)


@pytest.mark.parametrize("what", ["whole", "writing"])
def test_a_locked_file_is_named_with_the_remedy(path, what):
    (answers,) = filled(path, videos=1)
    complaint = refused(r"another program keeps it locked\. End that program")
    with locked_by_another_process(path, what), complaint, AnswerStore(path, busy_s=0.2) as store:
        store.add(subject(0), stored(5000))
    assert not damaged_files(path)
    with AnswerStore(path) as store:
        assert store.answers(subject(0)) == answers


def test_a_short_lock_is_waited_for(path):
    with AnswerStore(path) as store:
        command, pipe = [sys.executable, "-c", LOCKER, str(path), "writing"], subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
            assert other.stdin and other.stdout
            assert other.stdout.readline() == "locked\n"
            other.stdin.close()
            store.add(subject(0), stored(1))
            assert other.wait(30) == 0
        assert len(store.answers(subject(0))) == 1
