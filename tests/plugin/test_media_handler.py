import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from haven.items import ItemKind
from haven.settings.settings import TagNames
from haven.stash.errors import TagClashError
from haven.stash.handler import MediaHandler, handshake
from haven.stash.transport import RetryPolicy, StashClient
from haven.stash.values import Scene
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


def test_the_control_tags_are_created_once_and_those_there_are_left_alone(stash, handler):
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


def test_queued_are_the_scenes_with_that_very_tag_in_order_and_without_a_limit(stash, handler):
    handler.prepare()
    stash.library.add_tag("Later", parents=["VLM_TagMe"])
    queued = [stash.library.add_scene(tags=["VLM_TagMe"]) for _ in range(60)]
    stash.library.add_scene(tags=["VLM_Tagged"])
    stash.library.add_scene(tags=["Later"])
    assert handler.ids_with(ItemKind.SCENE, TagNames().tag_me) == tuple(queued)


def test_what_failed_before_is_last_in_line(stash, handler):
    handler.prepare()
    first, failed, third = (stash.library.add_scene(tags=["VLM_TagMe"]) for _ in range(3))
    stash.library.add_scene(tags=["VLM_Errored"])
    handler.mark_failed(handler.start_run("Tag Videos"), ItemKind.SCENE, {failed: "no answer"})
    assert handler.ids_with(ItemKind.SCENE, "VLM_TagMe") == (first, third, failed)


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


def test_scenes_come_in_the_order_asked_for_fifty_at_a_time_and_those_gone_drop_out_alone(
    stash, handler
):
    ids = [stash.library.add_scene(title=f"Match {n}") for n in range(120)]
    gone = {ids[3], ids[60], ids[119]}
    for scene_id in gone:
        stash.library.remove_scene(scene_id)
    wanted = [*reversed(ids), "99999"]
    read = handler.read(Scene, wanted)
    assert [scene.id for scene in read] == [
        scene_id for scene_id in reversed(ids) if scene_id not in gone
    ]
    asked = [
        exchange.variables["ids"]
        for exchange in stash.requests.exchanges
        if exchange.operation == "Scenes"
    ]
    assert max(map(len, asked)) == 50


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


def test_an_open_plan_of_a_scene_that_is_gone_is_closed(stash, tmp_path):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    killed_at(stash, tmp_path, scene, "MarkersCreate")
    stash.library.remove_scene(scene)
    with handler_of(stash, tmp_path) as handler:
        (recovered,) = handler.recover()
        assert (recovered.item.id, recovered.gone) == (scene, True)
        assert handler.recover() == ()


TASK = """
import json, sys
from pathlib import Path
from haven.items import ItemKind
from haven_media_handler import MediaHandler
from haven.settings.settings import TagNames
from vlm_engine.types import Span, VideoTagInfo

port, journal, scene, found = json.loads(sys.argv[1])
spans = {tag: tuple(Span(tag, *times) for times in all_times) for tag, all_times in found.items()}
info = VideoTagInfo(600.0, {"sport": tuple(found)}, {}, {"sport": spans})
with MediaHandler({"Host": "127.0.0.1", "Port": port}, Path(journal), TagNames()) as handler:
    handler.prepare()
    handler.recover()
    for queued in handler.ids_with(ItemKind.SCENE, TagNames().tag_me):
        handler.apply(handler.start_run("Tag Videos"), ItemKind.SCENE, {queued: info})
"""
FOUND = {"Foul": [[n, n + 0.5] for n in range(30)], "Goal": [[100, 101]]}


@contextmanager
def task(stash, folder, scene):
    """The task as a process of its own."""
    told = json.dumps([stash.port, str(folder / "journal.sqlite"), scene, FOUND])
    command = [sys.executable, "-c", TASK, told]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def killed_at(stash, folder, scene, operation, nth=1):
    """Runs the task and kills it with SIGKILL when the ``nth`` ``operation`` has been carried out."""
    left = [nth]
    with task(stash, folder, scene) as process:

        def hook(exchange):
            left[0] -= exchange.operation == operation
            if left[0] == 0:
                process.kill()
                process.wait(LIMIT_S)

        stash.requests.on_reply = hook
        _, log = process.communicate(timeout=LIMIT_S)
        stash.requests.on_reply = None
    assert process.returncode == -signal.SIGKILL, log.decode()


@pytest.mark.parametrize(
    ("operation", "nth"), [("MarkersCreate", 2), ("TagScene", 1), ("TagScene", 2)]
)
def test_a_process_killed_in_the_middle_of_writing_loses_and_doubles_nothing(
    stash, tmp_path, operation, nth
):
    scene = stash.library.add_scene(tags=["VLM_TagMe", "Home game"])
    stash.library.add_marker(scene, "Goal", 100.25, 101.25, title="the winner")
    killed_at(stash, tmp_path, scene, operation, nth)
    with task(stash, tmp_path, scene) as process:
        _, log = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, log.decode()
    assert log == b""
    state = stash.library.scene_state(scene)
    assert state.tags == ("Foul", "Goal", "Home game", "VLM_Tagged")
    times = [(one.title, one.seconds, one.end_seconds) for one in state.markers]
    assert times == [*(("Foul", n, n + 0.5) for n in range(30)), ("the winner", 100.25, 101.25)]
