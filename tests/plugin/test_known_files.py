"""Files of Stash's that can be read here, and those that cannot."""

from __future__ import annotations

import asyncio
import os
from functools import partial

import pytest

from haven.setup.known_files import FileCheck, KnownFile, check_file
from tests.disk_faults import as_somebody_without_rights
from vlm_engine import MediaOutOfReachError, Readers


def test_a_file_of_stash_is_read_where_the_rules_say(tmp_path):
    (tmp_path / "Goal.mp4").write_bytes(b"goal")
    file = KnownFile("D:\\sport\\Goal.mp4", 4)
    checked = check_file(file, [("D:\\sport", str(tmp_path))])
    assert checked == FileCheck(file, str(tmp_path / "Goal.mp4"), "")
    assert checked.is_readable
    assert not check_file(file, []).is_readable


def test_a_file_of_unknown_size_counts_as_it_is(tmp_path):
    (tmp_path / "Goal.mp4").write_bytes(b"goal")
    assert check_file(KnownFile(str(tmp_path / "Goal.mp4"), 0), []).is_readable


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("Foul.mp4", "exists, "),
        ("cup/Foul.mp4", "cup does not"),
        ("Goal.mp4", "it has 4 bytes, and Stash knows of 9: it is another file"),
        (".", "Is a directory"),
        ("\0.mp4", "does not"),
    ],
)
def test_a_file_that_cannot_be_used_has_its_reason(tmp_path, name, fault):
    (tmp_path / "Goal.mp4").write_bytes(b"goal")
    checked = check_file(KnownFile(f"{tmp_path}/{name}", 9), [])
    assert not checked.is_readable
    assert fault in checked.fault


def test_a_file_without_permission_says_so(public):
    (public / "Goal.mp4").write_bytes(b"goal")
    (public / "Goal.mp4").chmod(0)
    with as_somebody_without_rights():
        checked = check_file(KnownFile(str(public / "Goal.mp4"), 4), [])
    assert checked.fault == "Permission denied"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
async def test_a_share_that_hangs_holds_up_no_other_file(tmp_path):
    """Opening a pipe hangs until somebody opens its other end, as a file on a dead share does."""
    (tmp_path / "Goal.mp4").write_bytes(b"goal")
    os.mkfifo(tmp_path / "hangs.mp4")
    readers = Readers(8, 0.3)
    paths = [str(tmp_path / name) for name in ("hangs.mp4", "Goal.mp4", "Foul.mp4")]
    calls = [readers.call(path, partial(check_file, KnownFile(path, 4), ())) for path in paths]
    stalled, good, missing = await asyncio.gather(*calls, return_exceptions=True)
    os.close(os.open(tmp_path / "hangs.mp4", os.O_WRONLY | os.O_NONBLOCK))
    await readers.aclose()
    assert isinstance(stalled, MediaOutOfReachError)
    assert isinstance(good, FileCheck)
    assert good.is_readable
    assert isinstance(missing, FileCheck)
    assert not missing.is_readable
