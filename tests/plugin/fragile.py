"""A connection to Stash that breaks in a given moment, as when the plugin's process is killed
then; and what else can happen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from haven.settings.settings import TagNames
from haven.stash.handler import MediaHandler
from haven.stash.http import RetryPolicy
from haven.stash.transport import StashClient
from sandbox.stash import Exchange, SandboxStash

NAMES = TagNames()
QUICK = RetryPolicy(total_s=0.2, first_pause_s=0.001)


class KilledError(BaseException):
    """Stands for SIGKILL inside one process: nothing catches it."""


class FragileClient(StashClient):
    """Dies at the request with number ``at``: before it leaves, or once its reply is there."""

    def __init__(self, stash: SandboxStash, *, at: int = 0, after: bool = False) -> None:
        super().__init__(
            {"Host": "127.0.0.1", "Port": stash.port}, retry=QUICK, sleep=lambda _: None
        )
        self.at, self.after, self.count = at, after, 0

    def _post(
        self, document: str, variables: Mapping[str, Any] | None, work_s: float
    ) -> requests.Response:
        self.count += 1
        if self.count == self.at and not self.after:
            raise KilledError
        response = super()._post(document, variables, work_s)
        if self.count == self.at:
            response.close()
            raise KilledError
        return response


@contextmanager
def handler_of(
    stash: SandboxStash, folder: Path, *, at: int = 0, after: bool = False, **options: Any
) -> Iterator[MediaHandler]:
    """A handler with its journal in ``folder``."""
    with MediaHandler(
        FragileClient(stash, at=at, after=after), folder / "journal.sqlite", NAMES, **options
    ) as handler:
        yield handler


def once(stash: SandboxStash, operation: str, act: Callable[[], object]) -> None:
    """``act`` happens just before the first ``operation`` is carried out."""

    def hook(exchange: Exchange) -> None:
        if exchange.operation == operation:
            stash.requests.on_request = None
            act()

    stash.requests.on_request = hook


def once_replied(stash: SandboxStash, operation: str, handler: MediaHandler, nth: int = 1) -> None:
    """The client dies once the reply to the ``nth`` next ``operation`` is there, before the
    journal hears of it.
    """
    left = [nth]
    client = handler._client
    assert isinstance(client, FragileClient)

    def hook(exchange: Exchange) -> None:
        left[0] -= exchange.operation == operation
        if left[0] == 0:
            client.at, client.after = client.count, True
            stash.requests.on_reply = None

    stash.requests.on_reply = hook


@contextmanager
def served(server: Any) -> Iterator[Any]:
    """Lets a server answer, in a thread of its own, until the block ends; then ``release`` lets
    go of what it holds back.
    """
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join(10)
