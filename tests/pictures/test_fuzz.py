"""Any bytes at all end in a picture or in a named error: nothing else is ever raised."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.pictures.bad_files import good_files, zipped
from vlm_engine.errors import MediaError
from vlm_engine.pictures import PictureReader
from vlm_engine.types import ImageShape, ZipEntry

SEEDS = dict(good_files(40, 30))
FUZZ = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

Change = tuple[float, bytes, int]
"""Where, as a share of the length; what is written there; how many bytes it replaces."""

changes = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 8)), max_size=6)


def changed(content: bytes, made: Sequence[Change]) -> bytes:
    for where, written, replaced in made:
        at = int(where * len(content))
        content = content[:at] + written + content[at + replaced :]
    return content


def read(source: bytes | Path | ZipEntry) -> None:
    reader = PictureReader(frames=3, parts=2)
    try:
        for frame in reader.views(source, ImageShape(64)).frames:
            assert frame.jpeg.startswith(b"\xff\xd8")
            assert 64 <= frame.width <= 64 or frame.height <= 64
    except MediaError as error:
        assert str(error)
    finally:
        reader.close()


@FUZZ
@given(st.sampled_from(sorted(SEEDS)), changes)
@example("goal.tiff", [(0.9, b"\xff\xff\xff\xff", 4)])
def test_any_picture(name, made):
    read(changed(SEEDS[name], made))


@FUZZ
@given(st.sampled_from(sorted(SEEDS)), st.binary(max_size=200), st.integers(0, 40))
def test_anything_behind_a_good_beginning(name, rest, kept):
    read(SEEDS[name][:kept] + rest)


FILES = {
    "goal.gif": SEEDS["goal.gif"],
    "Überzahl/foul.png": SEEDS["goal.png"],
    "../corner.bmp": SEEDS["goal.bmp"],
}
ZIP = {method: zipped(FILES, method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)}


@FUZZ
@given(st.sampled_from(sorted(ZIP)), changes, st.sampled_from(sorted(FILES)) | st.text(max_size=20))
def test_any_zip(tmp_path, method, made, name):
    path = tmp_path / "season.zip"
    path.write_bytes(changed(ZIP[method], made))
    read(ZipEntry(str(path), name))
