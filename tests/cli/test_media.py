"""The files that the paths of a command line mean."""

from __future__ import annotations

import os
from pathlib import Path
from zipfile import ZipFile

import pytest
from PIL import Image

from sandbox.pictures import write_folder, write_zip
from vlm_engine.cli.media import Picture, Unusable, Video, found
from vlm_engine.errors import MediaError
from vlm_engine.testing import glyphs
from vlm_engine.types import ZipEntry
from vlm_engine.video import probe

TAGS = ("Foul", "Goal")


def all_of(*paths: Path) -> list[Video | Picture | Unusable]:
    return found(paths)


def test_a_folder_is_searched_to_the_bottom_in_order(
    tmp_path,
):
    write_folder(tmp_path / "season" / "b", 2, TAGS)
    write_zip(tmp_path / "season" / "c.cbz", 1, TAGS)
    (tmp_path / "season" / "a.MP4").touch()
    for name in ("notes.txt", ".hidden.jpg", "b/._Bild.jpg"):
        (tmp_path / "season" / name).touch()
    (tmp_path / "season" / "up").symlink_to(tmp_path / "season", target_is_directory=True)
    assert all_of(tmp_path / "season") == [
        Video(str(tmp_path / "season" / "a.MP4")),
        Picture(str(tmp_path / "season" / "b" / "Bild 00000.jpg")),
        Picture(str(tmp_path / "season" / "b" / "Bild 00001.jpg")),
        Picture(ZipEntry(str(tmp_path / "season" / "c.cbz"), "Spieltag/Bild 00000.jpg")),
    ]


def test_a_broken_link_with_a_videos_name_is_not_skipped(tmp_path):
    (tmp_path / "moved.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "round.mkv").symlink_to("round.mkv")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "stream.ts")
    skipped: list[str] = []
    meant = found([tmp_path], skipped)
    assert (meant, skipped) == ([Video(str(path)) for path in sorted(tmp_path.iterdir())], [])
    for file in meant:
        assert isinstance(file, Video)
        with pytest.raises(MediaError, match=r": (no such file|is not a file|Too many levels.*)$"):
            probe(file.path)


def test_a_zip_is_its_pictures_without_hidden_files(tmp_path):
    path = tmp_path / "gallery.zip"
    with ZipFile(path, "w") as archive:
        for name in (
            "b.png",
            "a/A.JPG",
            "read me.txt",
            "__MACOSX/._b.png",
            "a/.thumb.jpg",
            "clip.mp4",
        ):
            archive.writestr(name, b"...")
    assert all_of(path) == [
        Picture(ZipEntry(str(path), name)) for name in ("a/A.JPG", "b.png", "clip.mp4")
    ]


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut off"])
def test_a_zip_that_cannot_be_opened_is_named(tmp_path, content):
    broken = tmp_path / "broken.zip"
    broken.write_bytes(content)
    (picture,) = write_folder(tmp_path / "folder", 1, TAGS)
    unusable, rest = all_of(broken, tmp_path / "folder")
    assert isinstance(unusable, Unusable)
    assert str(broken) in unusable.reason
    assert rest == Picture(str(picture.path))


def test_a_named_file_counts_by_its_content(
    tmp_path,
):
    picture, video = tmp_path / "IMG_0001", tmp_path / "recording.dat"
    glyphs.picture(TAGS).save(picture, "PNG")
    video.write_bytes(b"who knows")
    assert all_of(picture, video) == [Picture(str(picture)), Video(str(video))]


def test_a_missing_file_is_kept_and_an_empty_zip_is_named(
    tmp_path,
):
    with ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("read me.txt", b"...")
    lost, archived = all_of(tmp_path / "lost.jpg", tmp_path / "text.zip")
    assert lost == Picture(str(tmp_path / "lost.jpg"))
    assert archived == Unusable(f"{tmp_path / 'text.zip'}: there is no picture in this zip")


def test_every_picture_that_is_read_counts_by_its_suffix(tmp_path):
    """Pillow knows which suffixes the formats have; of its own sort of floating point it reads
    more than is read here.
    """
    Image.init()
    read = set("JPEG MPO PNG WEBP AVIF GIF TIFF BMP DIB JPEG2000 PPM QOI".split())
    suffixes = {
        suffix for suffix, name in Image.registered_extensions().items() if name in read
    } - {".pfm"}
    assert len(suffixes) > 20
    for suffix in suffixes:
        (tmp_path / f"picture{suffix}").write_bytes(b"anything")
    assert len(found([tmp_path])) == len(suffixes)
