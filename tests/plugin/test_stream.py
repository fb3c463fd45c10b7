"""A scene's file as Stash sends it: every byte in its place, few requests, and secrets kept."""

from __future__ import annotations

import logging
import random
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import haven.stash.stream
from haven.stash.http import RetryPolicy
from haven.stash.stream import SceneReader, SceneStream
from haven.stash.transport import StashClient
from sandbox.stash import Credentials, SandboxStash
from sandbox.videos import VideoSpec, generate
from tests.plugin.fragile import served
from vlm_engine.errors import (
    MediaNotFoundError,
    MediaOutOfReachError,
    MediaUnreadableError,
)
from vlm_engine.testing.threads import running

KEY, COOKIE = "whistle-whistle-whistle", "season-ticket"
NAME = "/data/sport/match.mp4"
CONTENT = random.Random(5).randbytes(12_000_000)


class Server(ThreadingHTTPServer):
    """Sends CONTENT in parts. ``faults``: what it does to the next requests, one word each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[str] = []
        self.requested: list[str] = []
        self.content = CONTENT
        self.modified = "Sat, 01 Aug 2026 10:00:00 GMT"
        self.connections = 0
        self.release = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The reader closes the connection when it has enough."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        fault = self.server.faults.pop(0) if self.server.faults else ""
        self.server.requested.append(self.headers["Range"])
        if fault == "drop":
            self.close_connection = True
        elif fault == "hang":
            self.server.release.wait(10)
        elif fault.isdigit():
            self.plain(int(fault))
        else:
            self.part(fault)

    def plain(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0" if status == 200 else "4")
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:1/login")
        self.end_headers()
        self.wfile.write(b"" if status == 200 else b"huh?")

    def part(self, fault: str) -> None:
        first, last = (
            int(number) for number in self.headers["Range"].removeprefix("bytes=").split("-")
        )
        data = self.server.content[first : last + 1]
        self.send_response(206)
        start = first + 1 if fault == "elsewhere" else first
        self.send_header(
            "Content-Range", f"bytes {start}-{start + len(data) - 1}/{len(self.server.content)}"
        )
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", self.server.modified)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if fault in ("cut", "stall") else data)
        if fault == "stall":
            self.wfile.flush()
            self.server.release.wait(10)
        self.close_connection = fault in ("cut", "stall")

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with served(Server()) as server:
        yield server


@pytest.fixture
def client(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[StashClient]:
    quick = RetryPolicy(total_s=0.07, first_pause_s=0.01)
    monkeypatch.setattr(haven.stash.stream, "STREAM_RETRY", quick)
    cookie = {"Name": "session", "Value": COOKIE}
    with closing(
        StashClient(
            {
                "Host": "127.0.0.1",
                "Port": server.server_port,
                "SessionCookie": cookie,
                "ApiKey": KEY,
            }
        )
    ) as client:
        yield client


@pytest.fixture
def reader(client: StashClient) -> Iterator[SceneReader]:
    with closing(SceneStream(client, "12", NAME, stall_s=0.3).open()) as reader:
        yield reader


def test_every_byte_is_where_it_is_in_the_file(reader):
    chance = random.Random(1)
    assert reader.size_bytes == len(CONTENT)
    for _ in range(150):
        place, length = (
            chance.randrange(len(CONTENT) + 1000),
            chance.choice([1, 700, 32_768, 300_000]),
        )
        if chance.random() < 0.5:
            place = min(
                len(CONTENT),
                max(0, reader.tell() + chance.choice([-40_000, -1, 0, 9, 60_000, 90_000])),
            )
        assert reader.seek(place) == place == reader.tell()
        assert reader.read(length) == CONTENT[place : place + length]
    assert reader.seek(-5, 2) == len(CONTENT) - 5
    assert reader.seek(2, 1) == len(CONTENT) - 3
    assert (reader.read(), reader.read(), reader.read(9)) == (CONTENT[-3:], b"", b"")


def test_who_reads_on_asks_seldom(reader, server):
    while reader.read(32_768):
        pass
    assert len(server.requested) < 10
    assert server.connections == 1


def test_seeking_reads_little_at_each_position_and_only_once(reader, server):
    for place in range(1_000_000, 11_000_000, 1_000_000):
        reader.seek(place)
        reader.read(20_000)
        reader.seek(place + 60_000)  # still on its way
        reader.read(1000)
    requested = [
        [int(number) for number in text.removeprefix("bytes=").split("-")]
        for text in server.requested
    ]
    assert len(requested) == 11
    assert all(last - first < 200_000 for first, last in requested)
    assert server.connections == 1


@pytest.mark.parametrize("fault", ["drop", "cut", "500", "503"])
def test_a_connection_that_breaks_costs_another_request(fault, reader, server):
    server.faults += [fault, fault]
    reader.seek(1_000_000)
    assert reader.read(400_000) == CONTENT[1_000_000:1_400_000]
    assert not server.faults


@pytest.mark.parametrize(
    ("faults", "kind", "words"),
    [
        (["drop"] * 4, MediaOutOfReachError, "Stash does not send it"),
        (["500"] * 4, MediaOutOfReachError, "Stash does not send it: 500"),
        (["hang"], MediaOutOfReachError, r"Stash sent nothing of it for 0\.3 s"),
        (["stall"], MediaOutOfReachError, r"Stash sent nothing of it for 0\.3 s"),
        (["404"], MediaNotFoundError, "nor has Stash got this file"),
        (["401", "401"], MediaOutOfReachError, r"refuses to send it \(401\)"),
        (["403"], MediaOutOfReachError, r"refuses to send it \(403\)"),
        (["302"], MediaOutOfReachError, r"refuses to send it \(302\)"),
        (["elsewhere"], MediaOutOfReachError, "another part of it than it was asked for"),
        (["200"], MediaUnreadableError, "the file is empty"),
        (["416"], MediaUnreadableError, "the file is empty"),
        (["204"], MediaOutOfReachError, r"does not send it in parts \(204"),
    ],
)
def test_what_goes_wrong_is_told_once_and_without_secrets(
    faults,
    kind,
    words,
    client,
    server,
    caplog,
):
    caplog.set_level(logging.DEBUG)
    with closing(SceneStream(client, "12", NAME, stall_s=0.3).open()) as reader:
        server.faults += faults
        reader.seek(5_000_000)
        with pytest.raises(kind, match=f"^{NAME}: .*{words}") as caught:
            reader.read(200_000)
        assert not server.faults
        text = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(reader)
        assert KEY not in text
        assert COOKIE not in text


def test_a_file_that_is_another_by_now_is_not_read_on(reader, server):
    server.content = CONTENT[:-1]
    reader.seek(6_000_000)
    with pytest.raises(MediaUnreadableError, match=f"{NAME}: the file was replaced or changed"):
        reader.read(10)


def test_nobody_there(client):
    stream = SceneStream(StashClient({"Host": "127.0.0.1", "Port": 1}), "12", NAME)
    with pytest.raises(MediaOutOfReachError, match=f"{NAME}: Stash does not send it: "):
        stream.open()


# --- on a sandbox Stash, which asks who is there ---


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return generate(VideoSpec(duration_s=2, width=160, height=96), tmp_path / "match.mp4").path


def test_a_session_is_enough_and_so_is_a_key(video):
    with running(
        SandboxStash(credentials=Credentials("referee", "red card"), api_key=KEY)
    ) as stash:
        scene = stash.library.add_scene(video)
        session = {"Name": "session", "Value": stash.sessions.issue()}
        for credentials in (
            {"SessionCookie": session},
            {"ApiKey": KEY},
            {"ApiKey": "an old one", "SessionCookie": session},
        ):
            client = StashClient({"Host": "127.0.0.1", "Port": stash.port, **credentials})
            with closing(SceneStream(client, scene, NAME).open()) as reader:
                assert reader.read() == video.read_bytes()
                assert reader.size_bytes == video.stat().st_size
                assert reader.modified_ns == pytest.approx(video.stat().st_mtime_ns, abs=10**9)
        stranger = StashClient({"Host": "127.0.0.1", "Port": stash.port, "ApiKey": "an old one"})
        with pytest.raises(MediaOutOfReachError, match="refuses to send it"):
            SceneStream(stranger, scene, NAME).open()


def test_stash_may_not_have_the_file_either(video):
    with (
        running(SandboxStash()) as stash,
        closing(StashClient({"Host": "127.0.0.1", "Port": stash.port})) as client,
    ):
        scene = stash.library.add_scene(video)
        video.unlink()
        for one in (scene, "4711"):
            with pytest.raises(MediaNotFoundError, match="nor has Stash got this file"):
                SceneStream(client, one, NAME).open()
