"""The log as Stash reads it, from a real pipe."""

import logging
import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haven.setup.stash_log import StashLogHandler

SCANNER_LIMIT = 64 * 1024


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept_s: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)


class Pipe:
    """A handler, and what comes out at Stash's end."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._read_fd, self.write_fd = os.pipe()
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._drain)
        self._reader.start()
        self.handler = StashLogHandler(self.write_fd, clock=self.clock, sleep=self.clock.sleep)
        self.log = logging.Logger("sport", level=1)  # noqa: LOG001  (nobody else hears it)
        self.log.addHandler(self.handler)

    def _drain(self) -> None:
        while chunk := os.read(self._read_fd, 65536):
            self._chunks.append(chunk)

    def lines(self) -> list[str]:
        """End the pipe, and return all that was written."""
        os.close(self.write_fd)
        self._reader.join(30)
        os.close(self._read_fd)
        *lines, rest = b"".join(self._chunks).decode().split("\n")
        assert not rest
        return lines


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    try:
        os.fstat(pipe.write_fd)
    except OSError:
        return
    pipe.lines()


def test_each_level_has_its_letter(pipe):
    for level in (5, logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        pipe.log.log(level, "Foul at %s s", 12)
    assert pipe.lines() == [f"\x01{letter}\x02Foul at 12 s" for letter in "tdiwee"]


def test_each_line_of_a_message_is_framed(pipe):
    pipe.log.warning("first half\r\n\n   \nsecond half\u2028extra time")
    assert pipe.lines() == [
        "\x01w\x02first half",
        "\x01w\x02second half",
        "\x01w\x02extra time",
    ]


def test_a_traceback_is_framed_too(pipe):
    try:
        raise ValueError("offside")
    except ValueError:
        pipe.log.exception("Scene 7")
    lines = pipe.lines()
    assert lines[0] == "\x01e\x02Scene 7"
    assert lines[-1] == "\x01e\x02ValueError: offside"
    assert all(line.startswith("\x01e\x02") for line in lines)


def test_control_characters_are_shown_not_sent(pipe):
    pipe.log.info("a\x01p\x02b\x1b[31mc\x00d\te\x85f\x9bg %s", "half a character\udce4.mp4")
    assert pipe.lines() == [
        "\x01i\x02a\\x01p\\x02b\\x1b[31mc\\x00d\te",
        "\x01i\x02f\\x9bg half a character\\udce4.mp4",
    ]


@given(st.text(alphabet="aä€\U0001f3c0\n ", min_size=1), st.integers(1, 40_000))
def test_no_line_is_too_long_for_stash_and_no_character_is_split(text, times):
    pipe = Pipe()
    pipe.log.info("%s", text * times)
    lines = pipe.lines()
    assert all(len(line.encode()) < SCANNER_LIMIT - 1 for line in lines)
    written = "".join(line[3:] for line in lines)
    expected = "".join(line.rstrip() for line in (text * times).splitlines())
    if len(expected.encode()) <= 64_000:
        assert written == expected
    else:
        kept, _, end = written.rpartition("(")
        assert end == "the rest of this message was left out)"
        assert expected.startswith(kept)
        assert len(kept.encode()) > 60_000


def test_a_message_with_wrong_arguments_is_skipped(pipe, capsys):
    pipe.log.info("%d fouls", "three")
    pipe.log.info("play on")
    assert pipe.lines() == ["\x01i\x02play on"]
    assert "Logging error" in capsys.readouterr().err


def test_secrets_are_hidden_in_messages_and_tracebacks(pipe):
    pipe.handler.hide(["sk-sport-1", "sk-sport-12345", "", "none"])
    pipe.log.info("keys %s and %s, none else", "sk-sport-12345", "sk-sport-1")
    try:
        raise ValueError("Bearer sk-sport-12345")
    except ValueError:
        pipe.log.exception("refused")
    lines = pipe.lines()
    assert lines[0] == "\x01i\x02keys *** and ***, none else"
    assert lines[-1] == "\x01e\x02ValueError: Bearer ***"
    assert not any("sk-sport" in line for line in lines)


def test_progress_only_grows_and_stays_between_0_and_1(pipe):
    for fraction in (-1.0, 0.25, 0.2, float("nan"), 0.2505, 0.5, 7.0, 0.9):
        pipe.handler.progress(fraction)
        pipe.clock.now_s += 1
    assert pipe.lines() == [
        "\x01p\x020.0000",
        "\x01p\x020.2500",
        "\x01p\x020.5000",
        "\x01p\x021.0000",
    ]


def test_progress_is_sent_ten_times_a_second_and_at_the_end(pipe):
    for step in range(1, 1001):
        pipe.handler.progress(step / 1000)
        pipe.clock.now_s += 0.001
    lines = pipe.lines()
    assert len(lines) == 11
    assert lines[-1] == "\x01p\x021.0000"


def test_stash_that_has_stopped_reading_does_not_stop_the_task():
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    handler = StashLogHandler(write_fd)
    log = logging.Logger("sport")  # noqa: LOG001
    log.addHandler(handler)
    log.error("is anybody there?")
    handler.progress(0.5)
    os.close(write_fd)


def test_threads_do_not_mix_their_lines(pipe):
    def talk(letter: str) -> None:
        for _ in range(50):
            pipe.log.info("%s", letter * 15_000)

    threads = [threading.Thread(target=talk, args=(letter,)) for letter in "FGT"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(pipe.lines()) == sorted("\x01i\x02" + letter * 15_000 for letter in "FGT" * 50)


def test_waits_before_the_end_only_as_long_as_stash_may_need(pipe):
    pipe.handler.flush_before_exit()
    assert pipe.clock.slept_s == []
    pipe.log.info("final whistle")
    pipe.clock.now_s += 0.1
    pipe.handler.flush_before_exit()
    pipe.clock.now_s += 5
    pipe.handler.flush_before_exit()
    assert pipe.clock.slept_s == [pytest.approx(0.2), 0.0]
