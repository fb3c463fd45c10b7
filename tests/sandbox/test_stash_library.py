"""What a test puts into the sandbox's Stash, and how it looks from outside and inside."""

import asyncio
import struct
import zipfile
from pathlib import Path

import pytest
import requests
from PIL import Image

from sandbox.stash import RefusedError, SandboxStash, TagState
from sandbox.stash_client import ask
from sandbox.stash_server.media import oshash
from sandbox.videos import VideoSpec, generate
from vlm_engine.testing.threads import running

FILES = """
query ($ids: [ID!]) { findScenes(ids: $ids) { scenes {
  title files { path basename size duration frame_rate width height video_codec format bit_rate fingerprint(type: "oshash") }
  paths { sprite vtt stream }
} } }
"""
PICTURES = """
{ findImages(filter: {sort: "id"}) { images { id title tags { name } galleries { title image_count } visual_files {
  __typename
  ... on ImageFile { path width height format zip_file { path } fingerprints { type value } }
  ... on VideoFile { path duration }
} } } }
"""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("matches")
    first = generate(
        VideoSpec(duration_s=2, seed=1, width=192, height=108), folder / "erste Hälfte.mp4"
    )
    second = generate(VideoSpec(duration_s=1, seed=2, width=192, height=108), folder / "second.mp4")
    return first.path, second.path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "goal.jpg"
    Image.new("RGB", (64, 48), "green").save(path)
    return path


def test_a_merged_tag_is_the_other_everywhere_and_its_name_an_alias() -> None:
    with running(SandboxStash()) as stash:
        library = stash.library
        one, both = library.add_scene(tags=["Foul"]), library.add_scene(tags=["Foul", "Handball"])
        library.add_marker(one, "Foul", 1.0, 2.0, tags=["Goal"])
        library.add_marker(both, "Goal", 1.0, 2.0, tags=["Foul"])
        library.merge_tag("Foul", "Handball")
        assert [library.scene_state(scene).tags for scene in (one, both)] == [
            ("Handball",),
            ("Handball",),
        ]
        markers = [library.scene_state(scene).markers[0] for scene in (one, both)]
        assert [(marker.primary_tag, marker.tags) for marker in markers] == [
            ("Handball", ("Goal",)),
            ("Goal", ("Handball",)),
        ]
        tags = ask(
            stash.url, "{ findTags(filter: {per_page: -1}) { tags { name aliases } } }"
        ).data["findTags"]["tags"]
        assert {"name": "Handball", "aliases": ["Foul"]} in tags
        assert "Foul" not in {tag["name"] for tag in tags}


def test_a_scene_s_files_are_read(videos: tuple[Path, Path]) -> None:
    with running(SandboxStash()) as stash:
        scene = stash.library.add_scene(*videos, title="The match", tags=["VLM_TagMe"])
        found = ask(stash.url, FILES, {"ids": [scene]}).data["findScenes"]["scenes"][0]
    first, second = found["files"]
    assert (found["title"], first["path"], second["basename"]) == (
        "The match",
        str(videos[0]),
        "second.mp4",
    )
    assert (first["width"], first["height"], first["video_codec"], first["format"]) == (
        192,
        108,
        "h264",
        "mp4",
    )
    assert first["size"] == videos[0].stat().st_size
    assert first["duration"] == pytest.approx(2, abs=0.1)
    assert first["frame_rate"] > 0
    assert found["paths"]["sprite"].endswith(f"/scene/{first['fingerprint']}_sprite.jpg")
    assert found["paths"]["stream"] == f"{stash.url}/scene/{scene}/stream"


@pytest.mark.parametrize("size", [9, 800, 65536, 65537, 200_000])
def test_the_oshash_is_size_and_words_of_both_ends(tmp_path: Path, size: int) -> None:
    data = bytes(number * 7 % 251 for number in range(size))
    path = tmp_path / "file"
    path.write_bytes(data)
    length = min(65536, size // 8 * 8)
    total = size
    for part in (data[:length], data[size - length :]):
        for (word,) in struct.iter_unpack("<Q", part):
            total += word
    assert oshash(path) == format(total & 0xFFFFFFFFFFFFFFFF, "016x")


def test_the_oshash_of_a_file_of_two_words_and_of_one_too_short(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x01" + b"\x00" * 15)
    assert (
        oshash(path) == "0000000000000012"
    )  # 16 bytes, and the word 1 at the head and once more at the tail
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="no oshash"):
        oshash(path)


def test_pictures_clips_and_pictures_in_zip_files(
    picture: Path, videos: tuple[Path, Path], tmp_path: Path
) -> None:
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(picture, "inner/goal.jpg")
    with running(SandboxStash()) as stash:
        single = stash.library.add_image(picture, title="Goal", tags=["VLM_TagMe"])
        packed = stash.library.add_image(archive, entry="inner/goal.jpg")
        stash.library.add_image(videos[1])
        stash.library.add_gallery("Cup final", images=[single, packed])
        images = ask(stash.url, PICTURES).data["findImages"]["images"]
        served = requests.get(f"{stash.url}/image/{packed}/image", timeout=10).content
        missing = requests.get(f"{stash.url}/image/99/image", timeout=10).status_code
        archive.unlink()
        unreadable = requests.get(f"{stash.url}/image/{packed}/image", timeout=10)
        galleries = {"galleries": {"value": ["1"], "modifier": "INCLUDES"}}
        document = "query ($f: ImageFilterType) { findImages(image_filter: $f) { images { id } } }"
        in_gallery = ask(stash.url, document, {"f": galleries}).data["findImages"]["images"]
    assert [image["visual_files"][0]["__typename"] for image in images] == [
        "ImageFile",
        "ImageFile",
        "VideoFile",
    ]
    assert images[0]["tags"] == [{"name": "VLM_TagMe"}]
    assert images[0]["galleries"] == [{"title": "Cup final", "image_count": 2}]
    assert (images[0]["visual_files"][0]["width"], images[0]["visual_files"][0]["zip_file"]) == (
        64,
        None,
    )
    inner = images[1]["visual_files"][0]
    assert (inner["path"], inner["zip_file"]) == (
        f"{archive}/inner/goal.jpg",
        {"path": str(archive)},
    )
    assert inner["fingerprints"] == images[0]["visual_files"][0]["fingerprints"]
    assert (served, missing) == (picture.read_bytes(), 404)
    assert (unreadable.status_code, "No such file" in unreadable.text) == (500, True)
    assert in_gallery == [{"id": single}, {"id": packed}]


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_or_zip_file_is_scanned_into_images_and_a_gallery_of_them(
    picture: Path, tmp_path: Path, zipped: bool
) -> None:
    made_of = tmp_path / "Season.zip"
    if zipped:
        with zipfile.ZipFile(made_of, "w") as file:
            file.write(picture, "inner/2.jpg")
            file.write(picture, "inner/1.jpg")
    else:
        made_of = picture.parent / "Season"
        made_of.mkdir()
        for name in ("2.jpg", "1.jpg"):
            (made_of / name).write_bytes(picture.read_bytes())
    with running(SandboxStash()) as stash:
        stash.library.add_image(picture)
        gallery, images = stash.library.scan_gallery(
            made_of, tags=["VLM_TagMe"], image_tags=["Home game"]
        )
        document = "{ findGalleries { galleries { id image_count folder { path } files { path basename } } } }"
        (found,) = ask(stash.url, document).data["findGalleries"]["galleries"]
        tagged = {
            "galleries_filter": {
                "tags": {"value": [stash.library.tag_id("VLM_TagMe")], "modifier": "INCLUDES"}
            }
        }
        fields = "id visual_files { ... on ImageFile { path } }"
        document = f"query ($f: ImageFilterType) {{ findImages(image_filter: $f) {{ images {{ {fields} }} }} }}"
        inside = ask(stash.url, document, {"f": tagged}).data["findImages"]["images"]
        assert (
            stash.library.image_state(images[0]).tags,
            stash.library.gallery_state(gallery).tags,
        ) == (
            ("Home game",),
            ("VLM_TagMe",),
        )
    inner = f"{made_of}/inner" if zipped else str(made_of)
    assert inside == [
        {"id": image, "visual_files": [{"path": f"{inner}/{name}"}]}
        for image, name in zip(images, ("1.jpg", "2.jpg"), strict=True)
    ]
    files = [{"path": str(made_of), "basename": "Season.zip"}] if zipped else []
    folder = None if zipped else {"path": str(made_of)}
    assert found == {"id": gallery, "image_count": 2, "folder": folder, "files": files}


def test_images_and_galleries_are_retagged_and_removed(picture: Path) -> None:
    with running(SandboxStash()) as stash:
        image = stash.library.add_image(picture, tags=["Goal"])
        gallery = stash.library.add_gallery(images=[image], tags=["Foul"])
        stash.library.tag_image(image, "Foul")
        stash.library.untag_image(image, "Goal")
        stash.library.tag_gallery(gallery, "Goal")
        stash.library.untag_gallery(gallery, "Foul")
        assert (
            stash.library.image_state(image).tags,
            stash.library.gallery_state(gallery).tags,
        ) == (("Foul",), ("Goal",))
        stash.library.remove_gallery(gallery)
        assert [one.id for one in stash.library.snapshot().images] == [image]
        stash.library.remove_image(image)
        assert stash.library.snapshot().images == stash.library.snapshot().galleries == ()
        assert stash.library.add_image(picture) != image  # the file's entry went with it
        with pytest.raises(RefusedError, match="image with id 1 not found"):
            stash.library.image_state(image)


@pytest.mark.parametrize(
    ("kind", "message", "tagged"),
    [
        ("Image", "image with id 9 not found", (("Goal",), ())),
        ("Gallery", "FOREIGN KEY constraint failed", ((), ("Goal",))),
    ],
)
def test_images_and_galleries_are_tagged_in_bulk(
    picture: Path, kind: str, message: str, tagged: tuple[object, object]
) -> None:
    field = f"bulk{kind}Update"
    document = (
        f"mutation ($i: Bulk{kind}UpdateInput!) {{ {field}(input: $i) {{ tags {{ name }} }} }}"
    )
    with running(SandboxStash()) as stash:
        image = stash.library.add_image(picture)
        ids = {"Image": image, "Gallery": stash.library.add_gallery("Cup final", images=[image])}
        change = {"tag_ids": {"ids": [stash.library.add_tag("Goal")], "mode": "ADD"}}
        reply = ask(stash.url, document, {"i": {"ids": [ids[kind]], **change}})
        refused = ask(stash.url, document, {"i": {"ids": ["9"], **change}})
        state = stash.library.snapshot()
    assert reply.data == {field: [{"tags": [{"name": "Goal"}]}]}
    assert message in refused.messages[field]
    assert (state.images[0].tags, state.galleries[0].tags) == tagged


def test_paths_may_be_shown_as_another_machine_sees_them(picture: Path, tmp_path: Path) -> None:
    with running(SandboxStash(shown_as={str(tmp_path): "/media/matches"})) as stash:
        image = stash.library.add_image(picture)
        files = ask(stash.url, PICTURES).data["findImages"]["images"][0]["visual_files"]
        assert files[0]["path"] == "/media/matches/goal.jpg"
        assert (
            requests.get(f"{stash.url}/image/{image}/image", timeout=10).content
            == picture.read_bytes()
        )


def test_a_snapshot_is_equal_until_something_changes(videos: tuple[Path, Path]) -> None:
    with running(SandboxStash()) as stash:
        scene = stash.library.add_scene(videos[1], tags=["Game"])
        marker = stash.library.add_marker(scene, "Foul", 0.25, 0.5, tags=["VLM"])
        before = stash.library.snapshot()
        assert stash.library.snapshot() == before
        assert before.tags[0] == TagState(
            id="1", name="Game", description="", aliases=(), ignore_auto_tag=False, parents=()
        )
        stash.library.edit_marker(marker, title="Charge", primary_tag="Charge", tags=["Game"])
        (edited,) = stash.library.scene_state(scene).markers
        assert (edited.id, edited.title, edited.primary_tag, edited.tags) == (
            marker,
            "Charge",
            "Charge",
            ("Game",),
        )
        stash.library.untag_scene(scene, "Game")
        stash.library.remove_marker(marker)
        assert (
            stash.library.scene_state(scene).tags,
            stash.library.scene_state(scene).markers,
        ) == ((), ())
        assert stash.library.snapshot() != before


def test_what_was_removed_is_gone_and_its_path_is_free(videos: tuple[Path, Path]) -> None:
    with running(SandboxStash()) as stash:
        scene = stash.library.add_scene(videos[1])
        stash.library.add_marker(scene, "Foul", 0.5)
        stash.library.remove_scene(scene)
        stash.library.remove_tag("Foul")
        assert ask(stash.url, "{ findSceneMarkers { count } findTags { count } }").data == {
            "findSceneMarkers": {"count": 0},
            "findTags": {"count": 0},
        }
        assert stash.library.add_scene(videos[1]) != scene
        with pytest.raises(RefusedError):
            stash.library.remove_scene(scene)
        with pytest.raises(RefusedError):
            stash.library.remove_tag("Foul")


def test_it_is_an_asynchronous_context_manager_too() -> None:
    async def main() -> int:
        async with SandboxStash() as stash:
            return (await asyncio.to_thread(ask, stash.url, "{ version { version } }")).status

    assert asyncio.run(main()) == 200
