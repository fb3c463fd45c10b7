"""What the world does to the store's file: each fault is real, ends in a message that says what to do, and loses nothing."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.database_faults import LOCKER, files_no_longer_than, locked_by_another_process
from vlm_engine.errors import StoreError
from vlm_engine.store import AnswerStore, SharedLock, StoredAnswer, Subject
from vlm_engine.types import Answer, Form, ImageShape, Verdict

ROOT = Path(__file__).parents[2]
PAGE = 4096


def stored(look_ms: int) -> StoredAnswer:
    raw = os.urandom(500).hex()  # what does not compress fills the file
    return StoredAnswer(
        look_ms,
        look_ms / 1000,
        Form.LIST,
        ImageShape(),
        Answer({"Foul": Verdict(True)}, raw, "m", "gym"),
    )


def subject(number: int) -> Subject:
    return Subject(f"oshash:{number}", "model", "words")


def filled(path: Path, videos: int = 10, answers: int = 50) -> list[list[StoredAnswer]]:
    """A store with that many answers about each of that many videos."""
    told = [[stored(n) for n in range(answers)] for _ in range(videos)]
    with AnswerStore(path) as store:
        for number, own in enumerate(told):
            for one in own:
                store.add(subject(number), one)
    return told


def damaged_files(path: Path) -> list[Path]:
    return sorted(
        found
        for found in path.parent.glob(f"{path.name}.damaged-*")
        if not found.name.endswith("-wal")
    )


def cut_off(data: bytearray) -> None:
    del data[len(data) // 2 :]


def cut_to_a_stump(data: bytearray) -> None:
    del data[300:]


def header_overwritten(data: bytearray) -> None:
    data[:200] = b"only words " * 18 + b"--"


def middle_overwritten(data: bytearray) -> None:
    middle = len(data) // PAGE // 2 * PAGE
    data[middle : middle + 3 * PAGE] = os.urandom(3 * PAGE)


def everything_overwritten(data: bytearray) -> None:
    data[:] = os.urandom(len(data))


def cut_nothing_but_the_end(data: bytearray) -> None:
    del data[-100:]


DAMAGES = [cut_off, cut_to_a_stump, header_overwritten, middle_overwritten, everything_overwritten]


def damage(path: Path, how: Callable[[bytearray], None]) -> bytes:
    data = bytearray(path.read_bytes())
    how(data)
    path.write_bytes(data)
    return bytes(data)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_is_set_aside_and_named_and_work_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: Callable[[bytearray], None]
) -> None:
    path = tmp_path / "store.sqlite3"
    told = filled(path)
    data = damage(path, how)
    with AnswerStore(path) as store:
        (aside,) = damaged_files(path)
        assert str(aside) in caplog.text
        assert aside.read_bytes() == data
        for number, own in enumerate(told):
            assert all(one in own for one in store.answers(subject(number)))
        store.add(subject(99), stored(1))
    with AnswerStore(path) as store:
        assert len(store.answers(subject(99))) == 1
        assert damaged_files(path) == [aside]


def test_what_can_be_read_of_a_damaged_file_is_kept_and_so_are_tables_of_others(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.sqlite3"
    told = filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE journal_markers (id INTEGER PRIMARY KEY, title TEXT NOT NULL)")
        db.execute("CREATE INDEX journal_titles ON journal_markers (title)")
        db.executemany("INSERT INTO journal_markers (title) VALUES (?)", [("Foul",), ("Goal",)])
    damage(path, middle_overwritten)
    with AnswerStore(path) as store:
        kept = sum(len(store.answers(subject(number))) for number in range(len(told)))
        assert 0.8 * 500 < kept < 500
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT * FROM journal_markers").fetchall() == [(1, "Foul"), (2, "Goal")]
        assert db.execute("SELECT 1 FROM sqlite_master WHERE name = 'journal_titles'").fetchone()
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("row", [0, 100, 499])
def test_one_page_that_cannot_be_read_costs_what_is_on_it_and_no_more(
    tmp_path: Path, row: int
) -> None:
    path = tmp_path / "store.sqlite3"
    told = [one for own in filled(path) for one in own]
    with closing(sqlite3.connect(path)) as db:
        said = [said for (said,) in db.execute("SELECT said FROM answer ORDER BY id")]
    data = path.read_bytes()
    first = data.index(said[row][:500]) // PAGE * PAGE
    lost = sum(
        any(part in data[first : first + PAGE] for part in (one[:500], one[-500:])) for one in said
    )
    with path.open("r+b") as file:
        file.seek(first)
        file.write(os.urandom(PAGE))
    with AnswerStore(path) as store:
        kept = [one for number in range(10) for one in store.answers(subject(number))]
    assert [one for one in told if one in kept] == kept
    assert 0 < lost < 10
    assert len(kept) >= len(told) - lost


def test_answers_whose_video_was_lost_never_become_another_videos(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    filled(path, videos=3)
    with closing(sqlite3.connect(path)) as db, db:
        (page,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'answer_subject'"
        ).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(os.urandom(PAGE))
    with AnswerStore(path) as store:
        for number in range(3):
            store.add(subject(100 + number), stored(77_000))
            assert [one.look_ms for one in store.answers(subject(100 + number))] == [77_000]


@pytest.mark.parametrize("done", [1, 2])
def test_who_is_killed_while_setting_a_file_aside_is_followed_up(tmp_path: Path, done: int) -> None:
    """The steps after the copy is complete: the log of changes moves, the damaged file moves, the copy takes its place."""
    path = tmp_path / "store.sqlite3"
    filled(path, videos=2)
    with AnswerStore(path) as store:
        told = store.answers(subject(1))
    shutil.copy(path, tmp_path / "store.sqlite3.mended")
    damage(path, header_overwritten)
    if done == 2:
        path.rename(tmp_path / "store.sqlite3.damaged-20260101-000000")
    with AnswerStore(path) as store:
        assert store.answers(subject(1)) == told
    assert len(damaged_files(path)) == 1
    assert not (tmp_path / "store.sqlite3.mended").exists()


def test_rot_inside_an_answer_is_no_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.sqlite3"
    filled(path, videos=1, answers=3)
    with closing(sqlite3.connect(path)) as db, db:
        (said,) = db.execute("SELECT said FROM answer WHERE id = 2").fetchone()
        db.execute(
            "UPDATE answer SET said = ? WHERE id = 2",
            (said[:100] + bytes([said[100] ^ 1]) + said[101:],),
        )
    with AnswerStore(path) as store:
        assert [one.look_ms for one in store.answers(subject(0))] == [0, 2]
    assert "1 answers cannot be read any more; they are asked for again" in caplog.text


def test_rot_in_a_text_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    told = filled(path, videos=1, answers=3)[0]
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE answer SET endpoint = CAST(x'67ff6d' AS TEXT) WHERE id = 2")
    for _ in range(2):
        with AnswerStore(path) as store:
            assert [one.answer.raw for one in store.answers(subject(0))] == [
                one.answer.raw for one in told
            ]
        damage(path, cut_nothing_but_the_end)


def test_damage_found_in_the_middle_of_the_work_is_mended_at_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    filled(path)
    before = path.stat()
    damage(path, middle_overwritten)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # a disk that rots tells nobody
    with (
        AnswerStore(path) as store,
        pytest.raises(StoreError, match=r"store\.sqlite3: the file is damaged\. Start again"),
    ):
        for number in range(10):
            store.answers(subject(number))
    assert not damaged_files(path)
    with AnswerStore(path) as store:
        assert sum(len(store.answers(subject(number))) for number in range(10)) > 400
    assert len(damaged_files(path)) == 1


def test_a_file_that_another_has_open_is_not_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    filled(path)
    other = SharedLock(path)
    data = damage(path, header_overwritten)
    with pytest.raises(StoreError, match="damaged"):
        AnswerStore(path)
    assert path.read_bytes() == data
    assert not damaged_files(path)
    other.release()
    with AnswerStore(path):
        assert len(damaged_files(path)) == 1


def test_a_file_that_somebody_else_has_open_without_a_hold_is_not_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    filled(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("SELECT count(*) FROM answer_subject").fetchone()
        data = damage(path, middle_overwritten)
        with pytest.raises(StoreError, match="another program keeps it locked"):
            AnswerStore(path)
        assert path.read_bytes() == data
        assert not damaged_files(path)
    with AnswerStore(path):
        assert len(damaged_files(path)) == 1


def test_a_newer_versions_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    filled(path, videos=1)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE answer_schema SET version = 99")
    data = path.read_bytes()
    with pytest.raises(
        StoreError, match=r"store\.sqlite3: a newer version .* wrote it .*Update this program"
    ):
        AnswerStore(path)
    assert path.read_bytes() == data


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        StoreError, match=r"file/store\.sqlite3: it cannot be written\. Let the user"
    ):
        AnswerStore(tmp_path / "file" / "store.sqlite3")


@contextmanager
def as_somebody_without_rights() -> Iterator[None]:
    """Root may write everywhere, so it becomes nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("existing", [False, True])
def test_a_data_folder_that_is_read_only_is_named_with_the_remedy(
    public: Path, existing: bool
) -> None:
    path = public / "data" / "store.sqlite3"
    path.parent.mkdir()
    told = filled(path, videos=1) if existing else []
    for file in path.parent.iterdir():
        file.chmod(0o444)
    path.parent.chmod(0o555)
    with (
        as_somebody_without_rights(),
        pytest.raises(StoreError, match=r"store\.sqlite3: it cannot be written\. Let the user"),
    ):
        AnswerStore(path)
    path.parent.chmod(0o755)
    for file in path.parent.iterdir():
        file.chmod(0o644)
    with AnswerStore(path) as store:
        assert store.answers(subject(0)) == (told[0] if existing else [])


def test_a_file_that_alone_is_read_only_is_named_with_the_remedy(public: Path) -> None:
    path = public / "store.sqlite3"
    filled(path, videos=1)
    path.chmod(0o444)
    public.chmod(0o777)
    Path(f"{path}.lock").chmod(0o666)
    told = pytest.raises(StoreError, match=r"store\.sqlite3: it cannot be written\. Let the user")
    with as_somebody_without_rights(), told, AnswerStore(path) as store:
        store.add(subject(0), stored(1))


def add_many(store: AnswerStore, added: list[StoredAnswer]) -> None:
    for number in range(2000):
        one = stored(number)
        store.add(subject(0), one)
        added.append(one)


def test_a_disk_that_takes_no_more_is_named_and_all_that_was_taken_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    added: list[StoredAnswer] = []
    with AnswerStore(path) as store:
        with (
            files_no_longer_than(1_000_000),
            pytest.raises(StoreError, match=r"store\.sqlite3: its disk is full.* Make room there"),
        ):
            add_many(store, added)
        assert len(added) > 50
        assert store.answers(subject(0)) == added
        store.add(subject(0), stored(5000))  # as soon as there is room again
    with AnswerStore(path) as store:
        assert store.answers(subject(0))[:-1] == added
    assert not damaged_files(path)


def test_a_file_system_without_room_is_named_and_all_that_was_taken_is_kept(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    added: list[StoredAnswer] = []
    try:
        path = small / "store.sqlite3"
        with (
            AnswerStore(path) as store,
            pytest.raises(StoreError, match=r"store\.sqlite3: its disk is full.* Make room there"),
        ):
            add_many(store, added)
        assert len(added) > 50
        with (
            AnswerStore(path, max_bytes=None) as store,
            pytest.raises(StoreError, match="Make room there"),
        ):
            add_many(store, [])
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT count(*) FROM answer").fetchone()[0] >= len(added)
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize("what", ["whole", "writing"])
def test_a_file_that_another_process_has_locked_is_named_with_the_remedy(
    tmp_path: Path, what: str
) -> None:
    path = tmp_path / "store.sqlite3"
    told = filled(path, videos=1)
    complaint = pytest.raises(
        StoreError, match=r"store\.sqlite3: another program keeps it locked\. End that program"
    )
    with locked_by_another_process(path, what), complaint, AnswerStore(path, busy_s=0.2) as store:
        store.add(subject(0), stored(5000))
    assert not damaged_files(path)
    with AnswerStore(path) as store:
        assert store.answers(subject(0)) == told[0]


def test_a_short_lock_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    with AnswerStore(path) as store:
        command = [sys.executable, "-c", LOCKER, str(path), "writing"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdin and other.stdout
            assert other.stdout.readline() == "locked\n"
            other.stdin.close()
            store.add(subject(0), stored(1))
            assert other.wait(30) == 0
        assert len(store.answers(subject(0))) == 1


def test_a_clean_file_is_not_read_through_again_and_a_changed_one_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "store.sqlite3"
    filled(path)
    before = path.stat()
    damage(path, middle_overwritten)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    AnswerStore(path).close()
    assert not damaged_files(path)
    os.utime(path)
    AnswerStore(path).close()
    assert len(damaged_files(path)) == 1
    assert caplog.records[0].levelno == logging.WARNING
