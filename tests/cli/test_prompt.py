"""``vlm-engine prompt``: what is shown is what is sent, and nothing is sent."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vlm_engine.testing import HOST

ROOT = Path(__file__).resolve().parents[2]


def rest(out: str) -> dict[str, object]:
    """The request but for its messages."""
    body, _ = json.JSONDecoder().raw_decode(out[out.index("\n{\n") + 1 :])
    assert isinstance(body, dict)
    return body


def test_the_request_is_shown_and_nothing_is_sent(command, vlm):
    done = command("prompt", "--endpoint", vlm.url, "--tags", "Foul,Goal", "--model", "referee-7b")
    assert done.code == 0, done.err
    assert f"POST {vlm.url}/chat/completions\nwith no key\n" in done.out
    assert "\nsystem:\n    You check pictures" in done.out
    assert "    - Foul\n    - Goal\n" in done.out
    assert (
        "\nuser:\n    (a JPEG, its longest side at most 512 pixels, of quality 88)\n    Which tags "
        "does the picture show?\n" in done.out
    )
    body = rest(done.out)
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"]) == (
        "referee-7b",
        0.0,
        256,
        1,
    )
    assert '"enum": [' in done.out
    assert vlm.counters.requests == 0


def test_form_and_size_of_frames_are_as_the_settings_say(command, engine_yaml):
    file = engine_yaml(
        tag_list=["Foul"],
        api_base_url="http://127.0.0.1:9",
        answer_form="verdicts",
        frame_size="full",
    )
    done = command("prompt", "--config", file, "--for", "second look")
    assert "at most 1024 pixels" in done.out
    assert "Judge each tag by itself: yes" in done.out
    assert '"model" is added once the server has told which one it has loaded' in done.out


def test_descriptions_and_templates_are_filled_in(command, engine_yaml):
    file = engine_yaml(
        tag_list=["Goal", {"Foul": "a player is fouled"}],
        user_prompt="At {time}: which of the {tag_count}?",
        api_base_url="http://127.0.0.1:9",
    )
    done = command("prompt", "--config", file, "--time", "754.5")
    assert '    - Goal\n    - "Foul": a player is fouled\n' in done.out
    assert "    At 0:12:34.5: which of the 2?\n" in done.out
    assert '"Foul": a player' not in command("prompt", "--config", file, "--tags", "Goal").out


def test_a_scan_of_several_frames_shows_all_of_them(command, engine_yaml):
    server = "http://127.0.0.1:9"
    file = engine_yaml(tag_list=["Goal"], frames_per_question=3, api_base_url=server)
    scan = command("prompt", "--config", file, "--time", "12").out
    assert scan.count("(a JPEG, its longest side at most 512 pixels") == 3
    assert "    Picture 3, at 0:00:20.0:\n" in scan
    assert command("prompt", "--config", file, "--for", "edge").out.count("(a JPEG") == 1


def test_the_picture_is_shown_with_the_size_that_it_would_have(command, photo):
    assert (
        "(a JPEG of 512 x 288 pixels, "
        in command("prompt", "--tags", "Foul", "--picture", photo).out
    )
    assert (
        "(a JPEG of 640 x 360 pixels, "
        in command("prompt", "--tags", "Foul", "--picture", photo, "--for", "still").out
    )


def test_a_key_is_not_shown(command, monkeypatch):
    monkeypatch.setenv("LEAGUE_KEY", "sk-of-the-league")
    server = ("--endpoint", "http://127.0.0.1:9/v1", "--api-key-env", "LEAGUE_KEY")
    done = command("prompt", "--tags", "Foul", *server)
    assert "with the key of this endpoint" in done.out
    assert "league" not in done.out


class Recorder(http.server.ThreadingHTTPServer):
    """Keeps what it is sent, and answers nothing of use."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        super().__init__((HOST, 0), Refuser)


class Refuser(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def do_POST(self) -> None:
        assert isinstance(self.server, Recorder)
        self.server.sent.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_error(400)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_body_is_byte_for_byte_what_is_sent(command, photo):
    with Recorder() as server, ThreadPoolExecutor(1) as thread:
        thread.submit(server.serve_forever, 0.05)
        url = f"http://{HOST}:{server.server_port}"
        options = ["--endpoint", url, "--tags", "Foul,Goal", "--model", "referee-7b"]
        try:
            assert command("tag", photo, *options).code == 1
        finally:
            server.shutdown()
    command_line = [sys.executable, "-m", "vlm_engine", "prompt", *options, "--body"]
    command_line += ["--picture", str(photo), "--for", "still"]
    assert (
        subprocess.run(
            command_line, cwd=ROOT, stdout=subprocess.PIPE, timeout=60, check=True
        ).stdout
        == server.sent[0]
    )


def test_the_body_of_several_requests_is_none(command, photo):
    two = ("--endpoint", "http://127.0.0.1:9", "--endpoint", "http://127.0.0.1:19")
    assert command("prompt", "--tags", "Foul", "--body").code == 2
    assert command("prompt", "--tags", "Foul", "--body", "--picture", photo, *two).code == 2


def test_a_picture_that_is_none_is_named(command, tmp_path):
    (tmp_path / "foul.jpg").write_text("no picture")
    done = command("prompt", "--tags", "Foul", "--picture", tmp_path / "foul.jpg")
    assert done.code == 2
    assert "foul.jpg: not a picture" in done.err
