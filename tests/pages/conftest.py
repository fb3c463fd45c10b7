"""A Stash with the plugin installed, and its pages as a browser calls them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from haven.pages.context import PageContext
from haven.pages.dispatch import answer
from haven.tasks.check import sections_for_page
from sandbox.plugin import PLUGIN_ID, install
from sandbox.stash import SandboxStash
from sandbox.stash_client import ask
from vlm_engine.testing.threads import running

DATA = "haven_vlm_connector"
OPERATION = "mutation ($args: Map) { runPluginOperation(plugin_id: %s, args: $args) }"


@dataclass
class Pages:
    """A Stash, the plugin, and its calls: each in a process, or in this one.

    ``folder``: where the plugin is installed, once a test needs it as a process.
    """

    stash: SandboxStash
    folder: Path

    @cached_property
    def plugin(self) -> Path:
        if not self.folder.exists():
            install(self.folder)
        self.stash.load_plugin(self.folder)
        return self.folder

    @property
    def data_dir(self) -> Path:
        return self.stash.config_folder / DATA

    def send(self, **arguments: Any) -> Any:
        """Send one batch through Stash. Return the reply as the page gets it."""
        assert self.plugin.exists()
        document = OPERATION % json.dumps(PLUGIN_ID)
        reply = ask(self.stash.url, document, {"args": {"mode": "pages", "api": 1, **arguments}})
        assert reply.messages == {}
        return reply.data["runPluginOperation"]

    def context(self) -> PageContext:
        """A context as a process of the plugin has it."""
        self.data_dir.mkdir(exist_ok=True)
        connection = {"Host": "127.0.0.1", "Port": self.stash.port, "Scheme": "http"}
        return PageContext(connection, self.data_dir, sections_for_page)

    def reply(self, op: str, **arguments: Any) -> Mapping[str, Any]:
        """The reply to one call, answered in this process."""
        with self.context() as context:
            batch = answer({"api": 1, "calls": [{"op": op, **arguments}]}, context)
        (reply,) = json.loads(json.dumps(batch))["replies"]
        return reply

    def value(self, op: str, **arguments: Any) -> Any:
        """The value of one call that succeeds."""
        reply = self.reply(op, **arguments)
        assert reply["ok"], reply
        return reply["value"]

    def failure(self, op: str, **arguments: Any) -> tuple[str, str]:
        """The code and the message of one call that fails."""
        reply = self.reply(op, **arguments)
        assert not reply["ok"], reply
        return reply["code"], reply["message"]


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    with running(SandboxStash()) as stash:
        yield Pages(stash, tmp_path / "plugins" / PLUGIN_ID)
