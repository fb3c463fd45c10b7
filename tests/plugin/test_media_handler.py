from contextlib import contextmanager
from pathlib import Path

import pytest

from haven.items import ItemKind
from haven.settings.settings import TagNames
from haven.stash.errors import TagClashError
from haven.stash.handler import MediaHandler
from haven.stash.http import RetryPolicy
from haven.stash.server import handshake
from haven.stash.transport import StashClient
from haven.stash.values import ITEM_TYPES, Scene
from sandbox.stash import Credentials, SandboxStash
from sandbox.videos import VideoSpec, generate
from vlm_engine.testing.threads import running

ROOT = Path(__file__).parents[2]
NAMES = TagNames()
QUICK = RetryPolicy(total_s=0.2, first_pause_s=0.001)
LIMIT_S = 60


@contextmanager
def handler_of(stash, folder, vr_tag=""):
    connection = {"Host": "0.0.0.0", "Port": stash.port}
    with MediaHandler(connection, folder / "journal.sqlite", NAMES, vr_tag=vr_tag) as handler:
        yield handler


@pytest.fixture
def handler(stash, tmp_path):
    with handler_of(stash, tmp_path) as handler:
        yield handler


def test_missing_control_tags_are_created_once(stash, handler):
    stash.library.add_tag("vlm_tagged", description="mine", parents=["Reviewed"])
    handler.prepare()
    first = stash.library.snapshot().tags
    handler.prepare()
    assert stash.library.snapshot().tags == first
    tags = {tag.name: tag for tag in first}
    assert tags.keys() == {
        "Reviewed",
        "vlm_tagged",
        "VLM",
        "VLM_TagMe",
        "VLM_UpdateMe",
        "VLM_Errored",
    }
    assert tags["vlm_tagged"].parents == ("Reviewed",)


def test_a_control_tag_that_stash_takes_for_another_is_named(stash, handler):
    stash.library.add_tag("VLM TagMe")
    with pytest.raises(TagClashError, match="'VLM_TagMe' beside 'VLM TagMe'"):
        handler.prepare()


def test_queued_are_all_items_with_that_very_tag_in_order(items, handler):
    handler.prepare()
    items.stash.library.add_tag("Later", parents=["VLM_TagMe"])
    queued = items.queue(60)
    items.add("VLM_Tagged")
    items.add("Later")
    assert handler.ids_with(items.kind, NAMES.tag_me) == tuple(queued)
    assert handler.ids_with(items.kind, "No such tag") == ()


def test_items_that_failed_before_are_queued_last(items, handler):
    handler.prepare()
    first, failed, third = items.queue(3)
    items.add("VLM_Errored")
    handler.mark_failed(handler.start_run("Tag"), items.kind, {failed: "no answer"})
    assert handler.ids_with(items.kind, "VLM_TagMe") == (first, third, failed)


def test_items_come_in_the_requested_order_without_lost_ones(items, handler):
    at_once = 250 if items.kind is ItemKind.IMAGE else 50
    ids = [items.add() for _ in range(2 * at_once + 20)]
    gone = {ids[3], ids[at_once + 5], ids[-1]}
    for item in gone:
        items.remove(item)
    read = handler.read(ITEM_TYPES[items.kind], [*reversed(ids), "99999"])
    assert [item.id for item in read] == [item for item in reversed(ids) if item not in gone]
    requests = [one.variables.get("ids", ()) for one in items.stash.requests.exchanges]
    assert max(map(len, requests)) == at_once


def test_a_scene_is_read_with_its_files_tags_and_markers(stash, handler, tmp_path):
    folder = tmp_path / "Fußball finals"
    folder.mkdir()
    path = Path(
        generate(VideoSpec(duration_s=2, width=160, height=96, seed=3), folder / "match 1.mp4").path
    )
    scene_id = stash.library.add_scene(path, title="Final", tags=["VLM_TagMe", "Home game"])
    span = stash.library.add_marker(scene_id, "Foul", 0.5, 1.25, title="late tackle", tags=["VLM"])
    point = stash.library.add_marker(scene_id, "Goal", 1.5)
    (scene,) = handler.read(Scene, [scene_id])
    assert (scene.id, scene.title, scene.path) == (scene_id, "Final", str(path))
    assert [tag.name for tag in scene.tags] == ["Home game", "VLM_TagMe"]
    (file,) = scene.files
    assert (file.size_bytes, file.width, file.height) == (path.stat().st_size, 160, 96)
    assert scene.duration_s == pytest.approx(2, abs=0.2)
    assert len(scene.oshash) == 16
    assert [(m.id, m.title, m.start_s, m.end_s, m.primary.name) for m in scene.markers] == [
        (span, "late tackle", 0.5, 1.25, "Foul"),
        (point, "Goal", 1.5, None, "Goal"),
    ]
    assert scene.markers[0].tag_ids == {stash.library.tag_id("VLM")}


@pytest.mark.parametrize(
    ("vr_tag", "tag", "is_vr"),
    [
        ("Virtual Reality", "Virtual Reality", True),
        ("virtual reality", "Virtual Reality", True),
        ("VR", "Virtual Reality", True),  # its alias
        (
            "Virtual Reality",
            "VR 180",
            False,
        ),  # a tag below it: nor does Stash's player take it for VR
        ("Virtual_Reality", "Virtual Reality", False),
        ("Arena", "Virtual Reality", False),
        ("", "Virtual Reality", False),
    ],
)
def test_vr_are_the_scenes_with_the_tag_of_stashs_player(stash, tmp_path, vr_tag, tag, is_vr):
    stash.library.add_tag("Virtual Reality", aliases=["VR"])
    stash.library.add_tag("VR 180", parents=["Virtual Reality"])
    marked, other = (
        stash.library.add_scene(tags=[tag, "Home game"]),
        stash.library.add_scene(tags=["Home game"]),
    )
    with handler_of(stash, tmp_path, vr_tag) as handler:
        assert [scene.is_vr for scene in handler.read(Scene, [marked, other])] == [is_vr, False]


def test_a_scene_without_a_file_has_no_path(stash, handler):
    (scene,) = handler.read(Scene, [stash.library.add_scene()])
    assert (scene.path, scene.duration_s, scene.oshash) == ("", 0, "")


def test_a_ping_keeps_the_session_alive(tmp_path):
    now = [0.0]
    server = SandboxStash(
        credentials=Credentials("coach", "whistle"), session_idle_s=2, clock=lambda: now[0]
    )
    with running(server) as stash:
        cookie = {"Name": "session", "Value": stash.sessions.issue()}
        client = StashClient(
            {"Host": "127.0.0.1", "Port": stash.port, "SessionCookie": cookie}, retry=QUICK
        )
        handshake(client, "ahavenvlmconnector")
        with MediaHandler(client, tmp_path / "journal.sqlite", NAMES) as handler:
            handler.prepare()
            for _ in range(4):
                now[0] += 1.5
                handler.ping()
            assert handler.ids_with(ItemKind.SCENE, TagNames().tag_me) == ()
