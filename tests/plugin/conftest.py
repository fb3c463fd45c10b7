from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from haven.items import ItemKind
from haven.stash.handler import MediaHandler
from sandbox.stash import SandboxStash
from tests.plugin.fragile import handler_of
from tests.plugin.items import Items
from vlm_engine.testing.threads import running


@pytest.fixture
def stash() -> Iterator[SandboxStash]:
    with running(SandboxStash()) as stash:
        yield stash


@pytest.fixture
def handler(stash: SandboxStash, tmp_path: Path) -> Iterator[MediaHandler]:
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        yield handler


@pytest.fixture(params=ItemKind)
def items(stash: SandboxStash, request: pytest.FixtureRequest) -> Items:
    return Items(stash, request.param)
