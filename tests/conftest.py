"""Rules for every test: no unexpected error in the log, few random examples by default."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=300, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--thorough",
        action="store_true",
        help="also run the tests marked thorough, and try more random examples (make torture)",
    )
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
    config.addinivalue_line(
        "markers",
        "thorough: one more case of what another test shows in one; runs in make torture only",
    )
    settings.load_profile("thorough" if config.getoption("--thorough") else "quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests marked ``thorough`` out, unless they are asked for."""
    if not config.getoption("--thorough"):
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(autouse=True)
def level_of_the_log() -> Iterator[None]:
    """Restore the log level, which an engine's ``loglevel`` sets for the whole process."""
    logger = logging.getLogger("vlm_engine")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def no_unexpected_errors(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Fail a test in which something logs an error, unless it is marked ``expects_errors``."""
    yield
    if request.node.get_closest_marker("expects_errors") is None:
        errors = [
            record.getMessage()
            for record in caplog.get_records("call")
            if record.levelno >= logging.ERROR
        ]
        assert not errors, errors


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
