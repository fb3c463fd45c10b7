"""Images and galleries out of Stash: ids by the ten thousand, what an image's file is, its bytes
by way of Stash.
"""

import io
from zipfile import ZipFile

import pytest
from PIL import Image as Picture

from haven.items import ItemKind
from haven.settings.settings import TagNames
from haven.stash.errors import NotServedError, StashAuthError, StashUnreachableError
from haven.stash.handler import MediaHandler
from haven.stash.http import RetryPolicy
from haven.stash.transport import StashClient
from haven.stash.values import Gallery, Image
from sandbox.stash import Credentials, SandboxStash
from sandbox.videos import VideoSpec, generate
from tests.plugin.fragile import handler_of
from vlm_engine.testing.threads import running


@pytest.fixture
def handler(stash, tmp_path):
    with handler_of(stash, tmp_path) as handler:
        yield handler


def picture(colour, size=(40, 30)):
    data = io.BytesIO()
    Picture.new("RGB", size, colour).save(data, "JPEG")
    return data.getvalue()


def write_zip(path, **colours):
    with ZipFile(path, "w") as archive:
        for name, colour in colours.items():
            archive.writestr(f"first half/{name}.jpg", picture(colour))
    return path


def test_ten_thousand_ids_come_in_order_a_page_at_a_time(stash, handler):
    ids = [stash.library.add_image(tags=["VLM_TagMe"]) for _ in range(10_000)]
    stash.library.add_image(tags=["Foul"])
    stash.requests.clear()
    assert handler.ids_with(ItemKind.IMAGE, "vlm_tagme") == tuple(ids)
    assert stash.requests.operations.count("ImageIds") == 11


def test_no_id_is_skipped_when_earlier_ones_leave_the_queue(stash, handler):
    ids = [stash.library.add_image(tags=["VLM_TagMe"]) for _ in range(1500)]

    def hook(exchange):
        if exchange.operation == "ImageIds":
            stash.requests.on_reply = None
            for image in ids[:1000]:
                stash.library.untag_image(image, "VLM_TagMe")

    stash.requests.on_reply = hook
    assert handler.ids_with(ItemKind.IMAGE, "VLM_TagMe") == tuple(ids)


def test_images_are_queued_by_galleries_with_that_very_tag(stash, handler):
    stash.library.add_tag("VLM_TagMe")
    stash.library.add_tag("Later", parents=["VLM_TagMe"])
    tagged = stash.library.add_image(tags=["VLM_TagMe"])
    below = stash.library.add_image(tags=["Later"])
    inside = [stash.library.add_image() for _ in range(2)]
    stash.library.add_gallery(images=[inside[0], tagged], tags=["VLM_TagMe"])
    stash.library.add_gallery(images=inside, tags=["VLM_TagMe"])
    stash.library.add_gallery(images=[below], tags=["Later"])
    assert handler.image_ids_in_galleries_with("VLM_TagMe") == (tagged, *inside)
    assert handler.image_ids_in_galleries_with("No such tag") == ()


def test_an_image_is_read_with_what_its_file_is(stash, handler, tmp_path):
    (tmp_path / "throw.jpg").write_bytes(picture("red", (64, 48)))
    loose = stash.library.add_image(
        tmp_path / "throw.jpg", title="Free throw", tags=["Foul", "Home game"]
    )
    gallery = stash.library.add_gallery(images=[loose])
    (image,) = handler.read(Image, [loose])
    assert (image.title, image.path, image.zip_path, image.entry) == (
        "Free throw",
        str(tmp_path / "throw.jpg"),
        None,
        None,
    )
    assert (image.is_clip, image.width, image.height, image.duration_s) == (False, 64, 48, 0.0)
    assert image.size_bytes == (tmp_path / "throw.jpg").stat().st_size
    assert image.fingerprint.startswith("md5:")
    assert [tag.name for tag in image.tags] == ["Foul", "Home game"]
    assert image.gallery_ids == (gallery,)


def test_an_image_in_a_zip_file_is_known_by_both_names(stash, handler, tmp_path):
    path = write_zip(tmp_path / "Finale.zip", one="red", two="blue")
    gallery, ids = stash.library.scan_gallery(path, tags=["Home game"])
    images = handler.read(Image, ids)
    assert [image.entry for image in images] == ["first half/one.jpg", "first half/two.jpg"]
    assert {image.zip_path for image in images} == {str(path)}
    assert all(image.path == f"{path}/{image.entry}" for image in images)
    (found,) = handler.read(Gallery, [gallery])
    assert (found.title, found.path, found.image_count) == ("", str(path), 2)
    assert [tag.name for tag in found.tags] == ["Home game"]


def test_a_gallery_is_of_a_folder_or_of_a_person_s_making(stash, handler, tmp_path):
    folder = tmp_path / "Season"
    folder.mkdir()
    (folder / "one.jpg").write_bytes(picture("green"))
    scanned, _ = stash.library.scan_gallery(folder)
    made = stash.library.add_gallery("Best of", tags=["Goal"])
    galleries = handler.read(Gallery, [made, "999", scanned])
    assert [(one.title, one.path, one.image_count) for one in galleries] == [
        ("Best of", "", 0),
        ("", str(folder), 1),
    ]


def test_a_clip_differs_from_a_picture_listed_as_a_video(stash, handler, tmp_path):
    clip = stash.library.add_image(
        generate(VideoSpec(duration_s=2, width=96, height=64, gop_s=1), tmp_path / "clip.mp4").path
    )
    (found,) = handler.read(Image, [clip])
    assert (found.is_clip, found.width, found.height) == (True, 96, 64)
    assert found.duration_s == pytest.approx(2, abs=0.2)
    assert found.fingerprint.startswith("md5:")
    stash.library.rename_file(found.path, str(tmp_path / "clip.gif"))
    (found,) = handler.read(Image, [clip])
    assert (found.is_clip, found.duration_s) == (False, 0.0)


def test_tags_of_the_images_in_a_gallery_are_counted(stash, handler):
    stash.library.add_tag("Foul", aliases=["Infringement"])
    stash.library.add_tag("Hard foul", parents=["Foul"])
    images = [
        stash.library.add_image(tags=tags)
        for tags in (["Foul", "Goal"], ["Foul"], ["Hard foul"], [])
    ]
    gallery = stash.library.add_gallery(images=images)
    stash.library.add_image(tags=["Foul"])
    names = ["Infringement", "Goal", "Timeout", *(f"Turnover {number}" for number in range(60))]
    for name in names[3:40]:
        stash.library.tag_image(images[3], name)
    counts = handler.image_tag_counts(gallery, names)
    assert (counts["Infringement"], counts["Goal"], counts["Timeout"]) == (2, 1, 0)
    assert [counts[name] for name in names[3:]] == [1] * 37 + [0] * 23


def test_stash_serves_a_picture_also_from_a_zip_file(stash, handler, tmp_path):
    (tmp_path / "one.jpg").write_bytes(picture("red"))
    loose = stash.library.add_image(tmp_path / "one.jpg")
    _, (packed,) = stash.library.scan_gallery(write_zip(tmp_path / "a.zip", one="blue"))
    assert handler.image_bytes(loose, 10**6) == picture("red")
    assert handler.image_bytes(packed, 10**6) == picture("blue")
    assert handler.image_bytes(loose, len(picture("red"))) == picture("red")
    with pytest.raises(NotServedError, match="larger than 10 bytes"):
        handler.image_bytes(loose, 10)


def test_stash_serves_a_thumbnail_or_else_the_file(stash, handler, tmp_path):
    Picture.new("RGB", (1200, 600), "red").save(tmp_path / "large.png")
    (tmp_path / "goal.jxl").write_bytes(b"\xff\x0a goal")
    large, other = (stash.library.add_image(tmp_path / name) for name in ("large.png", "goal.jxl"))
    with Picture.open(io.BytesIO(handler.image_thumbnail(large, 10**6))) as thumbnail:
        assert (thumbnail.format, thumbnail.size) == ("JPEG", (640, 320))
    assert handler.image_thumbnail(other, 10**6) == b"\xff\x0a goal"
    stash.library.add_thumbnail(other, picture("blue"))
    assert handler.image_thumbnail(other, 10**6) == picture("blue")
    (tmp_path / "large.png").unlink()
    assert handler.image_thumbnail(large, 10**6).startswith(b"<svg")


def test_a_picture_that_stash_cannot_hand_out_either_is_named(stash, handler, tmp_path):
    (tmp_path / "one.jpg").write_bytes(picture("red"))
    image = stash.library.add_image(tmp_path / "one.jpg")
    (tmp_path / "one.jpg").unlink()
    with pytest.raises(NotServedError, match=rf"/image/{image}/image \(500\): .*No such file"):
        handler.image_bytes(image, 10**6)
    with pytest.raises(NotServedError, match=r"\(404\): Not Found"):
        handler.image_bytes(stash.library.add_image(), 10**6)


def test_bytes_keep_the_session_alive_and_a_lost_one_is_told(tmp_path):
    age = [0.0]
    with running(
        SandboxStash(credentials=Credentials("coach", "secret"), clock=lambda: age[0])
    ) as stash:
        (tmp_path / "one.jpg").write_bytes(picture("red"))
        image = stash.library.add_image(tmp_path / "one.jpg")
        cookie = {"Name": "session", "Value": stash.sessions.issue()}
        connection = {"Host": "127.0.0.1", "Port": stash.port, "SessionCookie": cookie}
        with MediaHandler(connection, tmp_path / "journal.sqlite", TagNames()) as handler:
            for _ in range(3):
                age[0] += 3000
                assert handler.image_bytes(image, 10**6) == picture("red")
            stash.sessions.expire_all()
            with pytest.raises(StashAuthError, match="302"):
                handler.image_bytes(image, 10**6)


def test_a_file_is_served_by_api_key_and_a_stale_key_dropped(tmp_path):
    with running(SandboxStash(credentials=Credentials("coach", "secret"), api_key="key")) as stash:
        (tmp_path / "one.jpg").write_bytes(picture("red"))
        image = stash.library.add_image(tmp_path / "one.jpg")
        client = StashClient({"Host": "127.0.0.1", "Port": stash.port, "ApiKey": "key"})
        with MediaHandler(client, tmp_path / "journal.sqlite", TagNames()) as handler:
            assert handler.image_bytes(image, 10**6) == picture("red")
            client.use_api_key("an old one")
            with pytest.raises(StashAuthError, match="401"):
                handler.image_bytes(image, 10**6)


def test_nobody_at_home_is_told_as_such(stash, tmp_path):
    client = StashClient({"Host": "127.0.0.1", "Port": 1}, retry=RetryPolicy(total_s=0.0))
    with (
        MediaHandler(client, tmp_path / "journal.sqlite", TagNames()) as handler,
        pytest.raises(StashUnreachableError),
    ):
        handler.image_bytes("1", 10)


def test_a_stash_that_knows_zip_files_is_new_enough_for_images(handler):
    handler.require_images()
