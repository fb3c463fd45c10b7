"""Replies that Stash should not send: each ends in one error that says what was received."""

from __future__ import annotations

import copy
import gzip
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import PIL.Image
import pytest

from haven.items import ItemKind
from haven.settings.settings import TagNames
from haven.stash.errors import (
    NotServedError,
    StashError,
    StashQueryError,
    StashReplyError,
    StashTimeoutError,
)
from haven.stash.http import RetryPolicy
from haven.stash.reading import (
    count_scenes,
    ids_with_tags,
    queued_videos,
    read_all,
    tag_counts,
)
from haven.stash.server import handshake, others_wait, require_images
from haven.stash.stream import SceneStream
from haven.stash.tags import TagCache
from haven.stash.transport import StashClient
from haven.stash.values import Gallery, Image, Scene, Tag
from sandbox.stash import SandboxStash
from sandbox.videos import VideoSpec, generate
from tests.plugin.fragile import served
from vlm_engine.errors import MediaOutOfReachError
from vlm_engine.testing.threads import running

ONCE = RetryPolicy(total_s=0.0)
PLUGIN = "ahavenvlmconnector"


class Liar(ThreadingHTTPServer):
    """Answers every request with ``body``, byte by byte where ``drips`` says what: "head" or
    "body".
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Lies)
        self.body = b""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.drips = ""
        self.tells_length = True
        self.release = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client closes the connection when it has enough."""


class _Lies(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Liar

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_GET(self) -> None:
        lies = self.server
        if lies.drips == "head":
            return self.drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 10_000)
        self.send_response(lies.status)
        for name, value in lies.headers.items():
            self.send_header(name, value)
        self.close_connection = not lies.tells_length
        if lies.tells_length:
            self.send_header("Content-Length", str(len(lies.body)))
        self.end_headers()
        return self.drip(lies.body) if lies.drips == "body" else self.pour(lies.body)

    def pour(self, data: bytes) -> None:
        with suppress(OSError):
            self.wfile.write(data)

    def drip(self, data: bytes) -> None:
        for one in range(len(data)):
            if self.server.release.wait(0.02):
                return
            self.wfile.write(data[one : one + 1])
            self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def liar() -> Iterator[Liar]:

    with served(Liar()) as server:
        yield server


@contextmanager
def client_of(server: Any, **options: Any) -> Iterator[StashClient]:
    port = server.port if isinstance(server, SandboxStash) else server.server_port
    with closing(
        StashClient({"Host": "127.0.0.1", "Port": port}, **{"retry": ONCE, **options})
    ) as client:
        yield client


@pytest.fixture
def client(liar: Liar) -> Iterator[StashClient]:
    with client_of(liar) as client:
        yield client


# --- the envelope ---


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"errors": ["the whistle is lost"]}', "the whistle is lost"),
        ('{"errors": "the whistle is lost", "data": null}', "the whistle is lost"),
        ('{"errors": {"message": "the whistle is lost"}}', "the whistle is lost"),
        ('{"errors": [{"message": {"text": "the whistle is lost"}}]}', "the whistle is lost"),
        ('{"errors": [{"message": "lost", "path": "findScene"}]}', "lost"),
        ('{"errors": [{"message": null}]}', "no reason given"),
        ('{"errors": [null]}', "no reason given"),
        ('{"errors": [7]}', "7"),
        ('{"data": null}', "neither data nor an error (200 OK), but {'data': None}"),
        ('{"data": [1]}', "neither data nor an error"),
        ('{"data": "x", "errors": []}', "neither data nor an error"),
        ("[]", "neither data nor an error (200 OK), but []"),
        ("null", "neither data nor an error"),
        ("[" * 100_000, "nested too deeply"),
        ('{"data": {"findScene": ' + '{"a":' * 900 + "1" + "}" * 900 + "}}", ""),
        ('{"data": {}}', "there is no version"),
    ],
)
def test_a_reply_of_any_form_is_one_clear_error(liar, client, body, message):
    liar.body = body.encode()
    with pytest.raises(StashQueryError) as caught:
        require_images(client)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b'{"data": {"a": ' + b"9" * 5000 + b"}}", b'{"data": ']
)
def test_what_is_no_json_is_not_stash(liar, client, body):
    liar.body = body
    with pytest.raises(StashError, match="is not Stash: 200 OK"):
        client.ask("{ version { version } }")


# --- every field of every reply ---

SPOILT = (None, 7, -1.5, "x", "", True, [], [None], {}, {"a": 1}, [[]], 10**400, float("nan"))


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything in a reply's data."""
    for key, below in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    ):
        yield (*way, key)
        yield from places(below, (*way, key))


def spoilt(data: Any, way: tuple[Any, ...], other: Any) -> Any:
    data = copy.deepcopy(data)
    *down, last = way
    part = data
    for step in down:
        part = part[step]
    if other == "gone":
        del part[last]
    else:
        part[last] = other
    return data


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxStash]:
    folder = tmp_path_factory.mktemp("media")
    PIL.Image.new("RGB", (8, 8)).save(folder / "a.png")
    video = generate(
        VideoSpec(duration_s=6, width=160, height=120, tags=("Foul",), seed=1), folder / "a.mp4"
    )
    with running(SandboxStash()) as stash:
        scene = stash.library.add_scene(video.path, tags=["Foul", "VLM_TagMe"])
        stash.library.add_marker(scene, "Foul", 3.0, end_seconds=5.0)
        image = stash.library.add_image(folder / "a.png", tags=["VLM_TagMe"])
        stash.library.add_gallery(images=[image], tags=["VLM_TagMe"], path=folder)
        yield stash


READERS: dict[str, Callable[[StashClient], object]] = {
    "scenes": lambda client: read_all(client, Scene, ["1"]),
    "images": lambda client: read_all(client, Image, ["1"]),
    "galleries": lambda client: read_all(client, Gallery, ["1"]),
    "ids": lambda client: ids_with_tags(client, ItemKind.SCENE, "1"),
    "counts": lambda client: tag_counts(client, "1", [Tag("1", "Foul")]),
    "tags": lambda client: TagCache(client, TagNames()).find(["Foul"]),
    "queued": lambda client: queued_videos(client, "1"),
    "scenes counted": lambda client: count_scenes(client, "1"),
    "handshake": lambda client: handshake(client, PLUGIN),
    "version": require_images,
    "queue": others_wait,
}


@pytest.mark.parametrize("name", READERS)
def test_no_field_of_a_reply_ends_in_a_raw_error(furnished, liar, name):
    with client_of(furnished) as honest:
        bodies: list[Any] = []
        send = honest._send

        def record(*args: Any) -> Any:
            bodies.append(send(*args))
            return bodies[-1]

        honest._send = record  # type: ignore[method-assign]
        READERS[name](honest)
    data = json.loads(json.dumps(bodies[-1].data))
    ways = list(places(data))
    assert ways
    with client_of(liar) as client:
        for way in ways:
            for other in (*SPOILT, "gone"):
                if other == "gone" and isinstance(way[-1], int):
                    continue
                liar.body = json.dumps({"data": spoilt(data, way, other)}).encode()
                with suppress(StashError):  # anything else fails the test
                    READERS[name](client)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            {"duration": None},
            "findScenes.scenes.0.files.0.duration: it is null, where a number is expected",
        ),
        ({"path": ["a"]}, "findScenes.scenes.0.files.0.path: it is ['a'], where text is expected"),
        (
            {"fingerprints": None},
            "findScenes.scenes.0.files.0.fingerprints: it is null, where a list of objects is "
            "expected",
        ),
    ],
)
def test_the_error_names_the_field_and_what_it_holds(liar, client, spoil, message):
    file = {
        "path": "/a.mp4",
        "size": 5,
        "duration": 2.0,
        "width": 4,
        "height": 4,
        "fingerprints": [],
        **spoil,
    }
    scene = {"id": "1", "title": None, "tags": [], "scene_markers": [], "files": [file]}
    liar.body = json.dumps({"data": {"findScenes": {"scenes": [scene, scene]}}}).encode()
    with pytest.raises(StashReplyError, match="cannot be used") as caught:
        client.ask("{ findScenes { scenes { id } } }")
    assert message in str(caught.value)


def test_a_key_in_the_wrong_place_is_not_shown(liar, client):
    liar.body = json.dumps(
        {"data": {"configuration": {"general": {"apiKey": ["season-ticket"]}}}}
    ).encode()
    with pytest.raises(StashReplyError) as caught:
        handshake(client, PLUGIN)
    assert "configuration.general.apiKey" in str(caught.value)
    assert "season-ticket" not in str(caught.value)


def test_a_stash_that_gives_the_same_page_for_ever_is_left(liar, client):
    liar.body = json.dumps(
        {"data": {"findScenes": {"scenes": [{"id": str(number)} for number in range(1000)]}}}
    ).encode()
    with pytest.raises(StashReplyError, match="0 follows 999"):
        ids_with_tags(client, ItemKind.SCENE, "1")


# --- how long and how large ---


@pytest.mark.parametrize("drips", ["head", "body"])
@pytest.mark.parametrize("tells_length", [True, False])
def test_a_reply_that_only_drips_is_given_up(liar, drips, tells_length):
    liar.drips, liar.tells_length, liar.body = (
        drips,
        tells_length,
        b'{"data": {' + b" " * 10_000 + b"}}",
    )
    with client_of(liar, timeout_s=0.2) as client:
        with pytest.raises(
            StashTimeoutError, match="answers too slowly: it was not over after 0.4 s"
        ):
            client.ask("{ version { version } }")
        with pytest.raises(StashTimeoutError, match="answers too slowly"):
            client.fetch("/image/1/image", 10**6)
        liar.drips, liar.body = "", b'{"data": {"version": {"version": "v0.30.1"}}}'
        assert client.ask("{ version { version } }") == {"version": {"version": "v0.30.1"}}


def test_a_refusal_that_only_drips_is_given_up(liar):
    liar.drips, liar.status, liar.body = "body", 401, b"x" * 10_000
    with (
        client_of(liar, timeout_s=0.2) as client,
        pytest.raises(StashTimeoutError, match="answers too slowly"),
    ):
        client.ask("{ version { version } }")


def test_a_video_that_only_drips_is_given_up(liar, monkeypatch):
    monkeypatch.setattr("haven.stash.stream._SLOWEST", 10.0**6)
    liar.status, liar.body, liar.drips = 206, b"x" * 50_000, "body"
    liar.headers = {"Content-Range": "bytes 0-49999/50000"}
    message = r"a\.mp4: Stash sends it too slowly: it was not over after 0\.2"
    with (
        client_of(liar) as client,
        closing(SceneStream(client, "1", "a.mp4", stall_s=0.2).open()) as reader,
        pytest.raises(MediaOutOfReachError, match=message),
    ):
        reader.read(10_000)


@pytest.mark.parametrize(
    "place",
    ["bytes 0-99/50", "bytes 5-2/9", "bytes 0-" + "9" * 5000 + "/" + "9" * 5000, "bytes 1-2/9"],
)
def test_a_part_that_cannot_be_is_refused(liar, place):
    liar.status, liar.body, liar.headers = (
        206,
        b"x",
        {"Content-Range": place, "Last-Modified": "yesterday"},
    )
    with client_of(liar) as client, pytest.raises(MediaOutOfReachError, match="another part of it"):
        SceneStream(client, "1", "a.mp4").open()


def test_a_date_that_is_none_does_not_matter(liar):
    liar.status, liar.body, liar.headers = (
        206,
        b"x",
        {"Content-Range": "bytes 0-0/1", "Last-Modified": "yesterday"},
    )
    with client_of(liar) as client, closing(SceneStream(client, "1", "a.mp4").open()) as reader:
        assert reader.modified_ns == 0


def test_a_packed_reply_is_measured_as_it_is_unpacked(liar, monkeypatch):

    liar.headers, liar.body = {"Content-Encoding": "gzip"}, gzip.compress(bytes(200 * 2**20), 1)
    monkeypatch.setattr("haven.stash.transport._MOST_REPLY_BYTES", 2**20)
    with client_of(liar) as client:
        tracemalloc.start()
        with pytest.raises(StashReplyError, match="it is larger than 1,048,576 bytes"):
            client.ask("{ version { version } }")
        with pytest.raises(NotServedError, match="larger than 1,048,576 bytes"):
            client.fetch("/image/1/image", 2**20)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 16 * 2**20


@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, gzip", "zstd"])
def test_a_reply_that_cannot_be_unpacked_is_told(liar, client, encoding):
    liar.headers, liar.body = {"Content-Encoding": encoding}, b'{"data": {}}'
    with pytest.raises(StashReplyError, match="packed"):
        client.ask("{ version { version } }")


def test_a_packed_reply_is_read(liar, client):
    liar.headers, liar.body = (
        {"Content-Encoding": "gzip"},
        gzip.compress(b'{"data": {"jobQueue": null}}'),
    )
    assert others_wait(client) is False


@pytest.mark.parametrize("cookie", ["session", ["a"], 7, {"Name": None, "Value": {}}])
def test_a_session_of_any_form_is_taken(liar, cookie):
    liar.body = b'{"data": {"jobQueue": []}}'
    connection = {"Host": "127.0.0.1", "Port": liar.server_port, "SessionCookie": cookie}
    with closing(StashClient(connection, retry=ONCE)) as client:
        assert others_wait(client) is False
