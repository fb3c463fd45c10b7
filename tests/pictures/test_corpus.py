"""Files as nobody wants them: each ends in a picture or in a named error, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sandbox.stills import saved, scene
from tests.pictures.bad_files import good_files, lying_files, zipped
from vlm_engine.errors import MediaUnreadableError
from vlm_engine.pictures import PictureReader
from vlm_engine.types import ImageShape, ZipEntry

MIB = 2**20
_ROOT = Path(__file__).resolve().parents[2]


def read_apart(folder: Path, files: Iterable[tuple[str, bytes]]) -> tuple[dict[str, str], int]:
    """The result of each file, and by how many bytes the process that read them grew."""
    folder.mkdir(exist_ok=True)
    for name, content in files:
        (folder / name).write_bytes(content)
    command = [sys.executable, "-m", "tests.pictures.child", str(folder)]
    ended = subprocess.run(command, cwd=_ROOT, capture_output=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    result: dict[str, Any] = json.loads(ended.stdout)
    return result["came"], result["grown"]


def is_error_of(path: Path, what: str) -> bool:
    """Return whether that file was refused: as damaged, or of a kind or size that is not read."""
    return what.startswith((f"MediaUnreadableError: {path}: ", f"MediaUnsupportedError: {path}: "))


def test_every_format_cut_off_at_10_places(tmp_path):
    files = [
        (f"{number:02}-{name}", content[: number * len(content) // 10])
        for name, content in good_files()
        for number in range(10)
    ]
    came, grown = read_apart(tmp_path / "cut", files)
    assert len(came) == len(files)
    read = [what for what in came.values() if what in {"still", "moving"}]
    refused = [is_error_of(tmp_path / "cut" / name, what) for name, what in came.items()]
    assert len(read) + sum(refused) == len(came)
    # Moving pictures are read up to the damage, and a first page without those behind it.
    assert len(read) < 0.2 * len(came)
    assert grown < 64 * MIB


def test_files_that_lie(tmp_path):
    came, grown = read_apart(tmp_path / "lying", lying_files())
    assert (came.pop("really-png.jpg"), came.pop("really-gif.webp"), came.pop("clip.mp4")) == (
        "still",
        "moving",
        "clip",
    )
    # Viewers show these, too: one frame on a larger ground, and rows that were lost as grey.
    assert (came.pop("claims-5000.gif"), came.pop("claims-5000.jpg")) == ("still", "still")
    for name, what in came.items():
        assert is_error_of(tmp_path / "lying" / name, what), what
        assert "50000" not in name or "too many pixels" in what, what
    assert "scans would take minutes to decode" in came["scans.jpg"]
    assert "HEIF" in came["photo.heic"]
    assert "a web page" in came["page.jpg"]
    assert "a zip" in came["inner.zip"]
    # What is within the limits may take its memory: 12,000 x 12,000 pixels of 3 bytes.
    assert grown < 512 * MIB


def test_zips_that_lie(tmp_path):
    goal = saved(Image.fromarray(scene()), "JPEG")
    others = {f"{number}.jpg": b"x" for number in range(3_000)}
    files = {
        "bomb.cbz": zipped({"goal.jpg": bytes(100 * MIB)}),
        "nested.cbz": zipped({"goal.jpg": zipped({"goal.jpg": zipped({"goal.jpg": goal})})}),
        "many.cbz": zipped(others | {"goal.jpg": goal}, zipfile.ZIP_STORED),
    }
    came, grown = read_apart(tmp_path / "zips", files.items())
    assert "bomb.cbz/goal.jpg: a decompression bomb" in came["bomb.cbz"]
    assert "a zip, and no picture" in came["nested.cbz"]
    assert came["many.cbz"] == "still"
    assert grown < 160 * MIB


def test_a_photograph_of_50_megapixels_takes_little_memory(tmp_path):
    content = saved(Image.fromarray(np.tile(scene(512, 512), (8, 25, 1))), "JPEG")
    came, grown = read_apart(
        tmp_path / "large",
        [("stadium.jpg", content), ("stadium.cbz", zipped({"goal.jpg": content}))],
    )
    assert set(came.values()) == {"still"}
    assert grown < 48 * MIB


@pytest.fixture
def not_root() -> Iterator[None]:
    """For root nothing is unreadable."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65_534)
    yield
    if is_root:
        os.seteuid(0)


def test_files_without_permission(tmp_path, request):
    path, archive = tmp_path / "goal.jpg", tmp_path / "season.zip"
    path.write_bytes(saved(Image.fromarray(scene()), "JPEG"))
    archive.write_bytes(zipped({"goal.jpg": path.read_bytes()}))
    path.chmod(0)
    archive.chmod(0)
    request.getfixturevalue("not_root")
    for source in (path, ZipEntry(str(archive), "goal.jpg")):
        with pytest.raises(
            MediaUnreadableError, match=r"(goal\.jpg|season\.zip).*Permission denied"
        ):
            PictureReader().views(source, ImageShape())


def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "goal.jpg")
    with pytest.raises(MediaUnreadableError, match="is not a file"):
        PictureReader().views(tmp_path / "goal.jpg", ImageShape())
