"""A Stash of the sandbox, for each test its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.stash import SandboxStash
from vlm_engine.testing import running


@pytest.fixture
def stash() -> Iterator[SandboxStash]:
    with running(SandboxStash()) as server:
        yield server
