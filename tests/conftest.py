"""What holds for every test: nothing may log an error that the test does not expect."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stash-binary",
        metavar="PATH",
        help="a Stash server to start and test against (tests/stash)",
    )
    parser.addoption(
        "--llama-server",
        metavar="PATH",
        help="llama.cpp's server to start and test against (tests/servers)",
    )
    parser.addoption(
        "--litellm",
        metavar="PATH",
        help="LiteLLM's proxy to start and test against (tests/servers)",
    )
    parser.addoption(
        "--vllm", metavar="PATH", help="vLLM to start and test against (tests/servers)"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "expects_errors: the test provokes errors that are logged, and checks what they say",
    )


@pytest.fixture(autouse=True)
def level_of_the_log() -> Iterator[None]:
    """An engine's ``loglevel`` is that of the process: the next test begins as this one did."""
    logger = logging.getLogger("vlm_engine")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def no_unexpected_errors(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Fails a test in which something logged an error, unless it is marked ``expects_errors``."""
    yield
    if request.node.get_closest_marker("expects_errors") is None:
        errors = [
            record.getMessage()
            for record in caplog.get_records("call")
            if record.levelno >= logging.ERROR
        ]
        assert not errors, errors
