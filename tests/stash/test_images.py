"""Images and galleries of a real Stash by way of the handler alone: read, tagged by the hundred,
undone.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import requests
from PIL import Image

from haven.items import ItemChange, ItemKind
from haven.settings.settings import TagNames
from haven.stash.errors import ItemGoneError, NotServedError, StashAuthError
from haven.stash.handler import MediaHandler
from haven.stash.transport import StashClient
from haven.stash.values import Fate, Gallery, Run, change_of
from haven.stash.values import Image as StashImage
from sandbox.real_stash import RealStash
from sandbox.stash import ItemState
from vlm_engine.types import ImageTagInfo

ZIPS, PER_ZIP, LOOSE = 3, 400, 6


def picture(number: int, kind: str = "JPEG") -> bytes:
    """A picture like no other."""
    data = io.BytesIO()
    Image.new("RGB", (16, 16), (number % 251, number // 251, 90)).save(data, kind)
    return data.getvalue()


@pytest.fixture(scope="module")
def house(binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStash]:
    """A Stash with pictures in a folder and in zip files, each of which is a gallery."""
    with RealStash(
        binary, tmp_path_factory.mktemp("stash"), config={"create_galleries_from_folders": True}
    ) as stash:
        folder = stash.media / "Saison – Köln"
        folder.mkdir()
        for number in range(LOOSE):
            (folder / f"Foto {number}.jpg").write_bytes(picture(number))
        (folder / "Foto 9.gif").write_bytes(picture(9, "GIF"))
        for one in range(ZIPS):
            with ZipFile(stash.media / f"Spiel {one}.zip", "w") as archive:
                for number in range(PER_ZIP):
                    archive.writestr(
                        f"Hälfte/{number:04}.png", picture(100 + one * PER_ZIP + number, "PNG")
                    )
        stash.scan()
        yield stash


@pytest.fixture
def stash(house: RealStash) -> RealStash:
    """Without any tags."""
    tags = [tag["id"] for tag in house.ask("{ allTags { id } }")["allTags"]]
    house.ask("mutation($ids: [ID!]!) { tagsDestroy(ids: $ids) }", {"ids": tags})
    return house


class Listening(StashClient):
    """Counts what it sends by the operation's name, and lets somebody act before a request
    leaves.
    """

    def __init__(self, connection: Mapping[str, Any]) -> None:
        super().__init__(connection)
        self.sent: list[str] = []
        self.before: Callable[[str], None] = lambda _: None

    def _post(
        self, document: str, variables: Mapping[str, Any] | None, work_s: float
    ) -> requests.Response:
        name = document.split("(", maxsplit=1)[0].rsplit(maxsplit=1)[-1]
        self.before(name)
        self.sent.append(name)
        return super()._post(document, variables, work_s)


@contextmanager
def handling(
    stash: RealStash, folder: Path, **connection: Any
) -> Iterator[tuple[MediaHandler, Listening]]:
    client = Listening({"Host": "127.0.0.1", "Port": stash.port, **connection})
    with MediaHandler(client, folder / "haven.sqlite3", TagNames()) as handler:
        handler.require_images()
        handler.prepare()
        yield handler, client


@pytest.fixture
def slow_hook(stash: RealStash) -> Iterator[None]:
    """Another plugin, which wants to know of every change of an image and takes .1 s for it."""
    hook = "{name: Slow, triggeredBy: [Image.Update.Post]}"
    folder = stash.plugins / "slow"
    folder.mkdir(parents=True)
    (folder / "slow.yml").write_text(
        f"name: Slow\nexec: [sleep, '0.1']\ninterface: raw\nhooks: [{hook}]\n", encoding="utf-8"
    )
    stash.ask("mutation { reloadPlugins }")
    yield
    shutil.rmtree(folder)
    stash.ask("mutation { reloadPlugins }")


def queue(stash: RealStash, ids: list[str]) -> None:
    stash.add_tags(ids, ["VLM_TagMe"], "Image")


def images_of(stash: RealStash) -> dict[str, ItemState]:
    """Every image by the path of its first file, in the order of the ids."""
    files = "visual_files { ... on ImageFile { path } ... on VideoFile { path } }"
    fields = f"id title tags {{ name }} {files}"
    found = stash.ask(
        f'{{ findImages(filter: {{per_page: -1, sort: "id"}}) {{ images {{ {fields} }} }} }}'
    )
    return {
        image["visual_files"][0]["path"]: ItemState(
            image["id"], image["title"], tuple(sorted(tag["name"] for tag in image["tags"]))
        )
        for image in found["findImages"]["images"]
    }


def ids_in(stash: RealStash, part: str) -> list[str]:
    return [image.id for path, image in images_of(stash).items() if part in path]


def info(*tags: str) -> ImageTagInfo:
    return ImageTagInfo({"sport": tags}, {})


def apply(handler: MediaHandler, ids: Iterable[str], *tags: str) -> Mapping[str, Fate]:
    """Write the same tags to these images, in a run of their own."""
    run_id = handler.start_run("Tag Images")
    fates = handler.apply(run_id, ItemKind.IMAGE, dict.fromkeys(ids, info(*tags)))
    handler.finish_run(run_id)
    return fates


def undo(handler: MediaHandler) -> tuple[Run, Mapping[int, Fate]]:
    """Undo the last run. Return it, and what became of each of its changes."""
    run = handler.last_undoable_run()
    assert run is not None
    undoing = handler.start_run("Undo Last Run", undoes=run.id)
    return run, handler.undo_changes(
        undoing, [change.number for change in handler.changes_to_undo(run.id)]
    )


def before_tagging(client: Listening, act: Callable[[], object]) -> None:
    """``act`` happens before the next request that tags images."""

    def act_once(name: str) -> None:
        if name == "TagImage":
            client.before = lambda _: None
            act()

    client.before = act_once


def test_images_are_read_with_what_their_files_are(stash, tmp_path):
    with handling(stash, tmp_path) as (handler, _):
        images = {
            image.path: image
            for image in handler.read(StashImage, [one.id for one in images_of(stash).values()])
        }
        assert len(images) == LOOSE + 1 + ZIPS * PER_ZIP
        packed = images[f"{stash.media}/Spiel 1.zip/Hälfte/0007.png"]
        assert (packed.zip_path, packed.entry) == (f"{stash.media}/Spiel 1.zip", "Hälfte/0007.png")
        content = picture(100 + PER_ZIP + 7, "PNG")
        assert packed.fingerprint == f"md5:{hashlib.md5(content).hexdigest()}"
        assert (packed.width, packed.height, packed.size_bytes, packed.is_clip) == (
            16,
            16,
            len(content),
            False,
        )
        loose = images[f"{stash.media}/Saison – Köln/Foto 9.gif"]
        assert (loose.zip_path, loose.entry, loose.is_clip, loose.duration_s) == (
            None,
            None,
            False,
            0.0,
        )
        galleries = {
            gallery.id: gallery
            for gallery in handler.read(Gallery, [one.id for one in stash.galleries().values()])
        }
        assert galleries[packed.gallery_ids[0]].path == packed.zip_path
        assert galleries[loose.gallery_ids[0]].path == f"{stash.media}/Saison – Köln"
        assert galleries[loose.gallery_ids[0]].image_count == LOOSE + 1
        assert handler.image_bytes(packed.id, 10**6) == content
        assert handler.image_bytes(loose.id, 10**6) == picture(9, "GIF")
        with pytest.raises(NotServedError, match="larger than 9 bytes"):
            handler.image_bytes(loose.id, 9)
        with pytest.raises(NotServedError, match="404"):
            handler.image_bytes("4711", 9)


def test_images_without_end_are_tagged_by_the_hundred_and_undone(stash, tmp_path):
    ids = ids_in(stash, ".zip")
    queue(stash, ids)
    stash.add_tags(ids[::3], ["Home game", "Foul"], "Image")
    failed = ids[::7]
    stash.add_tags(failed, ["VLM_Errored"], "Image")
    before = images_of(stash)
    with handling(stash, tmp_path) as (handler, client):
        assert handler.ids_with(ItemKind.IMAGE, "VLM_TagMe") == (
            *(one for one in ids if one not in failed),
            *failed,
        )
        found = {
            image: info(*("Foul", "Goal", "Turnover")[: number % 4])
            for number, image in enumerate(ids)
        }
        client.sent.clear()
        run_id = handler.start_run("Tag Images")
        fates = handler.apply(run_id, ItemKind.IMAGE, found)
        handler.finish_run(run_id)
        assert client.sent.count("TagImage") <= len(ids) // 50
        assert all(isinstance(fate, ItemChange) for fate in fates.values())
        for path, image in images_of(stash).items():
            if image.id in found:
                kept = set(before[path].tags) - {"VLM_TagMe", "VLM_Errored"}
                assert set(image.tags) == kept | set(found[image.id].tags["sport"]) | {"VLM_Tagged"}
        run, _ = undo(handler)
        assert handler.finish_undo(run.id) == ()
    assert images_of(stash) == before
    assert {tag["name"] for tag in stash.ask("{ allTags { name } }")["allTags"]}.isdisjoint(
        {"Goal", "Turnover"}
    )


def test_an_image_that_vanishes_before_the_write_stops_no_other(stash, tmp_path):
    number = int(hashlib.md5(str(tmp_path).encode()).hexdigest()[:4], 16) % 50_000 + 5000
    (stash.media / "Saison – Köln" / "gone.jpg").write_bytes(picture(number))
    stash.scan()
    (gone,) = ids_in(stash, "gone.jpg")
    ids = [*ids_in(stash, "Spiel 0"), gone]
    queue(stash, ids)
    with handling(stash, tmp_path) as (handler, client):
        destroy = "mutation($id: ID!) { imageDestroy(input: {id: $id, delete_file: true}) }"
        before_tagging(client, lambda: stash.ask(destroy, {"id": gone}))
        fates = apply(handler, ids, "Foul")
        assert [image for image, fate in fates.items() if isinstance(fate, ItemGoneError)] == [gone]
        assert client.sent.count("TagImage") == 4
        tags = {image.id: image.tags for image in images_of(stash).values()}
        assert {tags[image] for image in ids[:-1]} == {("Foul", "VLM_Tagged")}
        assert handler.recover() == ()


def test_a_tag_deleted_before_the_write_is_made_again(stash, tmp_path):
    ids = ids_in(stash, "Foto")
    queue(stash, ids)
    goal = stash.tag("Goal")
    with handling(stash, tmp_path) as (handler, client):
        destroy = "mutation($ids: [ID!]!) { tagsDestroy(ids: $ids) }"
        before_tagging(client, lambda: stash.ask(destroy, {"ids": [goal]}))
        apply(handler, ids, "Goal")
    assert {image.tags for image in images_of(stash).values() if image.id in ids} == {
        ("Goal", "VLM_Tagged")
    }


def test_a_gallery_gets_the_tags_of_its_images(stash, tmp_path):
    gallery = stash.galleries()["Spiel 2"]
    ids = ids_in(stash, "Spiel 2.zip")
    stash.add_tags(gallery.id, ["VLM_TagMe", "Home game"], "Gallery")
    before = stash.galleries()
    with handling(stash, tmp_path) as (handler, _):
        assert handler.ids_with(ItemKind.GALLERY, "VLM_TagMe") == (gallery.id,)
        assert handler.image_ids_in_galleries_with("VLM_TagMe") == tuple(ids)
        run_id = handler.start_run("Tag Images")
        handler.apply(
            run_id,
            ItemKind.IMAGE,
            {image: info("Foul", *["Goal"][: n % 2]) for n, image in enumerate(ids)},
        )
        counts = handler.image_tag_counts(gallery.id, ["Foul", "goal", "Timeout"])
        assert counts == {"Foul": PER_ZIP, "goal": PER_ZIP // 2, "Timeout": 0}
        change_of(
            handler.apply(
                run_id,
                ItemKind.GALLERY,
                {gallery.id: ImageTagInfo({"": ("Foul", "Home game")}, {})},
            )
        )
        handler.finish_run(run_id)
        assert stash.galleries()["Spiel 2"].tags == ("Foul", "Home game", "VLM_Tagged")
        undo(handler)
        assert stash.galleries() == before
        with pytest.raises(ItemGoneError):
            change_of(
                handler.apply(run_id, ItemKind.GALLERY, {"4711": ImageTagInfo({"": ("Foul",)}, {})})
            )


def test_files_are_served_to_authenticated_clients(binary, tmp_path):
    with RealStash(binary, tmp_path / "stash") as stash:
        (stash.media / "one.jpg").write_bytes(picture(1))
        stash.scan()
        stash.demand_login("coach", "secret of the coach")
        cookie = {"Name": "session", "Value": stash._cookie}
        with handling(stash, tmp_path, SessionCookie=cookie) as (handler, client):
            assert handler.image_bytes("1", 10**6) == picture(1)
            (stash.media / "one.jpg").unlink()
            with pytest.raises(NotServedError, match=r"\(500\).*no such file"):
                handler.image_bytes("1", 10**6)
            client._cookie = "of yesterday"
            with pytest.raises(StashAuthError, match="the session has ended"):
                handler.image_bytes("1", 10**6)


@pytest.mark.usefixtures("slow_hook")
def test_hooks_of_other_plugins_are_waited_for(stash, tmp_path):
    ids = ids_in(stash, "Spiel 0.zip")[:60]
    queue(stash, ids[:1])
    started = time.monotonic()
    queue(stash, ids[1:])
    assert time.monotonic() - started > 0.1 * 59
    with handling(stash, tmp_path) as (handler, client):
        client.timeout_s = 2.0
        fates = apply(handler, ids, "Foul")
    assert all(isinstance(fate, ItemChange) for fate in fates.values())
    assert {image.tags for image in images_of(stash).values() if image.id in ids} == {
        ("Foul", "VLM_Tagged")
    }


@pytest.mark.parametrize("ahead_s", [7200, -7200])
def test_a_clock_that_is_off_by_hours_spoils_no_undoing(stash, tmp_path, monkeypatch, ahead_s):
    ids = ids_in(stash, ".zip")[:5]
    queue(stash, ids)
    before = images_of(stash)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + ahead_s)
    with handling(stash, tmp_path) as (handler, _):
        apply(handler, ids, "Foul")
        _, fates = undo(handler)
    assert images_of(stash) == before
    assert not any(fate.kept_back for fate in fates.values() if isinstance(fate, ItemChange))
