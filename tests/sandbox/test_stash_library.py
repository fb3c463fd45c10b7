"""Files that a test puts into the sandbox's Stash are read and shown as Stash does."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from sandbox.stash import RefusedError, SandboxStash
from sandbox.stash_client import ask
from sandbox.stash_server.media import oshash
from sandbox.videos import VideoSpec, generate
from vlm_engine.testing import running

FILES = """
query ($ids: [ID!]) { findScenes(ids: $ids) { scenes { title paths { sprite stream } files {
  path basename size duration frame_rate width height video_codec format fingerprint(type: "oshash")
} } } }
"""
PICTURES = """
{ findImages(filter: {sort: "id"}) { images { id tags { name } galleries { title image_count }
  visual_files {
    __typename
    ... on ImageFile { path width zip_file { path } fingerprints { type value } }
    ... on VideoFile { path duration }
} } } }
"""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = VideoSpec(duration_s=2, seed=1, width=192, height=108)
    return generate(spec, tmp_path_factory.mktemp("matches") / "erste Hälfte.mp4").path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "goal.jpg"
    Image.new("RGB", (64, 48), "green").save(path)
    return path


def images_of(stash: SandboxStash) -> list[dict[str, Any]]:
    return ask(stash.url, PICTURES).data["findImages"]["images"]


def test_a_scenes_file_is_read(stash, video):
    scene = stash.library.add_scene(video, title="The match", tags=["VLM_TagMe"])
    (found,) = ask(stash.url, FILES, {"ids": [scene]}).data["findScenes"]["scenes"]
    (file,) = found["files"]
    assert (found["title"], file["path"], file["basename"]) == ("The match", str(video), video.name)
    assert [file[key] for key in ("width", "height", "video_codec", "format", "size")] == [
        *(192, 108, "h264", "mp4"),
        video.stat().st_size,
    ]
    assert (file["duration"], file["frame_rate"]) == (pytest.approx(2, abs=0.1), 15)
    assert found["paths"]["sprite"].endswith(f"/scene/{file['fingerprint']}_sprite.jpg")
    assert found["paths"]["stream"] == f"{stash.url}/scene/{scene}/stream"


@pytest.mark.parametrize("size", [9, 800, 65537, 200_000])
def test_the_oshash_is_size_and_words_of_both_ends(tmp_path, size):
    data = bytes(number * 7 % 251 for number in range(size))
    (tmp_path / "file").write_bytes(data)
    length = min(65536, size // 8 * 8)
    ends = data[:length] + data[size - length :]
    total = size + sum(word for (word,) in struct.iter_unpack("<Q", ends))
    assert oshash(tmp_path / "file") == format(total & 0xFFFFFFFFFFFFFFFF, "016x")


def test_pictures_clips_and_pictures_in_zip_files(stash, picture, video, tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(picture, "inner/goal.jpg")
    single = stash.library.add_image(picture, title="Goal", tags=["VLM_TagMe"])
    packed = stash.library.add_image(archive, entry="inner/goal.jpg")
    stash.library.add_image(video)
    stash.library.add_gallery("Cup final", images=[single, packed])
    images = images_of(stash)
    files = [image["visual_files"][0] for image in images]
    kinds = [file["__typename"] for file in files]
    assert kinds == ["ImageFile", "ImageFile", "VideoFile"]
    assert images[0]["tags"] == [{"name": "VLM_TagMe"}]
    assert images[0]["galleries"] == [{"title": "Cup final", "image_count": 2}]
    assert (files[0]["width"], files[0]["zip_file"]) == (64, None)
    assert files[1]["path"] == f"{archive}/inner/goal.jpg"
    assert files[1]["zip_file"] == {"path": str(archive)}
    assert files[0]["fingerprints"] == files[1]["fingerprints"]
    address = f"{stash.url}/image/{packed}/image"
    assert requests.get(address, timeout=10).content == picture.read_bytes()
    archive.unlink()
    unreadable = requests.get(address, timeout=10)
    assert (unreadable.status_code, "No such file" in unreadable.text) == (500, True)
    galleries = '{galleries: {value: ["1"], modifier: INCLUDES}}'
    found = ask(stash.url, f"{{ findImages(image_filter: {galleries}) {{ images {{ id }} }} }}")
    assert found.data["findImages"]["images"] == [{"id": single}, {"id": packed}]


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_or_zip_file_is_scanned_into_a_gallery(stash, picture, tmp_path, zipped):
    source = tmp_path / ("Season.zip" if zipped else "Season")
    if zipped:
        with zipfile.ZipFile(source, "w") as file:
            file.write(picture, "inner/2.jpg")
            file.write(picture, "inner/1.jpg")
    else:
        source.mkdir()
        for name in ("2.jpg", "1.jpg"):
            (source / name).write_bytes(picture.read_bytes())
    gallery, images = stash.library.scan_gallery(source, tags=["VLM_TagMe"], image_tags=["Home"])
    fields = "id image_count folder { path } files { path basename }"
    found = ask(stash.url, f"{{ findGalleries {{ galleries {{ {fields} }} }} }}").data
    files = [{"path": str(source), "basename": "Season.zip"}] if zipped else []
    folder = None if zipped else {"path": str(source)}
    expected = {"id": gallery, "image_count": 2, "folder": folder, "files": files}
    assert found["findGalleries"]["galleries"] == [expected]
    inner = source / "inner" if zipped else source
    paths = [image["visual_files"][0]["path"] for image in images_of(stash)]
    assert paths == [str(inner / name) for name in ("1.jpg", "2.jpg")]
    assert stash.library.image_state(images[0]).tags == ("Home",)
    assert stash.library.gallery_state(gallery).tags == ("VLM_TagMe",)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("Image", "image with id 9 not found"), ("Gallery", "FOREIGN KEY constraint failed")],
)
def test_images_and_galleries_are_tagged_in_bulk(stash, picture, kind, message):
    field = f"bulk{kind}Update"
    document = (
        f"mutation ($i: Bulk{kind}UpdateInput!) {{ {field}(input: $i) {{ tags {{ name }} }} }}"
    )
    image = stash.library.add_image(picture)
    gallery = stash.library.add_gallery("Cup final", images=[image])
    goal = {"ids": [stash.library.add_tag("Goal")], "mode": "ADD"}

    def tag(item: str) -> Any:
        return ask(stash.url, document, {"i": {"ids": [item], "tag_ids": goal}})

    assert tag(image if kind == "Image" else gallery).data == {
        field: [{"tags": [{"name": "Goal"}]}]
    }
    assert message in tag("9").messages[field]
    tags = (stash.library.image_state(image).tags, stash.library.gallery_state(gallery).tags)
    assert tags == ((("Goal",), ()) if kind == "Image" else ((), ("Goal",)))


def test_paths_may_be_shown_as_another_machine_sees_them(picture, tmp_path):
    with running(SandboxStash(shown_as={str(tmp_path): "/media/matches"})) as stash:
        image = stash.library.add_image(picture)
        assert images_of(stash)[0]["visual_files"][0]["path"] == "/media/matches/goal.jpg"
        served = requests.get(f"{stash.url}/image/{image}/image", timeout=10)
        assert served.content == picture.read_bytes()


def test_a_merged_tag_becomes_the_other_everywhere(stash):
    library = stash.library
    scene = library.add_scene(tags=["Foul", "Handball"])
    library.add_marker(scene, "Foul", 1.0, 2.0, tags=["Goal"])
    library.add_marker(scene, "Goal", 1.0, 2.0, tags=["Foul"])
    library.merge_tag("Foul", "Handball")
    state = library.scene_state(scene)
    markers = [(marker.primary_tag, marker.tags) for marker in state.markers]
    assert state.tags == ("Handball",)
    assert markers == [("Handball", ("Goal",)), ("Goal", ("Handball",))]
    aliases = {tag.name: tag.aliases for tag in library.snapshot().tags}
    assert aliases == {"Goal": (), "Handball": ("Foul",)}


def test_what_was_removed_is_gone_and_its_path_is_free(stash, video):
    scene = stash.library.add_scene(video)
    stash.library.add_marker(scene, "Foul", 0.5)
    stash.library.remove_scene(scene)
    stash.library.remove_tag("Foul")
    assert (stash.library.snapshot().scenes, stash.library.snapshot().tags) == ((), ())
    assert stash.library.add_scene(video) != scene
    with pytest.raises(RefusedError):
        stash.library.remove_scene(scene)
