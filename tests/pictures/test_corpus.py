"""Files as nobody wants them: each ends in a picture or in a named error, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Read:
    """Result of each file of a folder, and by how many bytes the process that read them, and the
    folders before, had grown then.
    """

    folder: Path
    came: dict[str, str]
    grown: int


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Read]:
    """All corpora, read by one process: those that may take little memory come first."""
    base = tmp_path_factory.mktemp("corpus")
    corpora = {"large": large_files, "cut": cut_files, "zips": lying_zips, "lying": lying_files}
    for name, files in corpora.items():
        (base / name).mkdir()
        for file, content in files():
            (base / name / file).write_bytes(content)
    folders = [base / name for name in corpora]
    command = [sys.executable, "-m", "tests.pictures.child", *map(str, folders)]
    ended = subprocess.run(command, cwd=_ROOT, capture_output=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    results = [
        Read(folder, **one) for folder, one in zip(folders, json.loads(ended.stdout), strict=True)
    ]
    return {one.folder.name: one for one in results}


def large_files() -> Iterator[tuple[str, bytes]]:
    """A photograph of 50 megapixels, by itself and in a zip."""
    content = saved(Image.fromarray(np.tile(scene(512, 512), (8, 25, 1))), "JPEG")
    yield "stadium.jpg", content
    yield "stadium.cbz", zipped({"goal.jpg": content})


def cut_files() -> Iterator[tuple[str, bytes]]:
    """Every kind of picture, cut off at ten places."""
    for name, content in good_files():
        for number in range(10):
            yield f"{number:02}-{name}", content[: number * len(content) // 10]


def lying_zips() -> Iterator[tuple[str, bytes]]:
    """A bomb, a zip in a zip, and one of many files."""
    goal = saved(Image.fromarray(scene()), "JPEG")
    others = {f"{number}.jpg": b"x" for number in range(3_000)}
    yield "bomb.cbz", zipped({"goal.jpg": bytes(100 * MIB)})
    yield "nested.cbz", zipped({"goal.jpg": zipped({"goal.jpg": zipped({"goal.jpg": goal})})})
    yield "many.cbz", zipped(others | {"goal.jpg": goal}, zipfile.ZIP_STORED)


def is_error_of(path: Path, what: str) -> bool:
    """Return whether that file was refused: as damaged, or of a kind or size that is not read."""
    return what.startswith((f"MediaUnreadableError: {path}: ", f"MediaUnsupportedError: {path}: "))


def test_every_format_cut_off_at_10_places(read):
    cut = read["cut"]
    assert len(cut.came) == sum(1 for _ in cut_files())
    pictures = [what for what in cut.came.values() if what in {"still", "moving"}]
    refused = [is_error_of(cut.folder / name, what) for name, what in cut.came.items()]
    assert len(pictures) + sum(refused) == len(cut.came)
    # Moving pictures are read up to the damage, and a first page without those behind it.
    assert len(pictures) < 0.2 * len(cut.came)
    assert cut.grown < 64 * MIB


def test_files_that_lie(read):
    came, folder = dict(read["lying"].came), read["lying"].folder
    assert (came.pop("really-png.jpg"), came.pop("really-gif.webp"), came.pop("clip.mp4")) == (
        "still",
        "moving",
        "clip",
    )
    # Viewers show these, too: one frame on a larger ground, and rows that were lost as grey.
    assert (came.pop("claims-5000.gif"), came.pop("claims-5000.jpg")) == ("still", "still")
    for name, what in came.items():
        assert is_error_of(folder / name, what), what
        assert "50000" not in name or "too many pixels" in what, what
    assert "scans would take minutes to decode" in came["scans.jpg"]
    assert "HEIF" in came["photo.heic"]
    assert "a web page" in came["page.jpg"]
    assert "a zip" in came["inner.zip"]
    # What is within the limits may take its memory: 12,000 x 12,000 pixels of 3 bytes.
    assert read["lying"].grown < 512 * MIB


def test_zips_that_lie(read):
    came = read["zips"].came
    assert "bomb.cbz/goal.jpg: a decompression bomb" in came["bomb.cbz"]
    assert "a zip, and no picture" in came["nested.cbz"]
    assert came["many.cbz"] == "still"
    assert read["zips"].grown < 96 * MIB


def test_a_photograph_of_50_megapixels_takes_little_memory(read):
    assert set(read["large"].came.values()) == {"still"}
    assert read["large"].grown < 48 * MIB


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
