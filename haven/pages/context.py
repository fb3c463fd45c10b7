"""Surroundings of the calls of one batch: the data folder, and Stash when a call asks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from haven.settings.plain import plain_text
from haven.setup.paths import DATABASE, PLUGIN_ID

if TYPE_CHECKING:
    from haven.settings.merge import Merged
    from haven.settings.settings import Settings
    from haven.settings.stash_tags import StashTag
    from haven.stash.transport import StashClient
    from haven.stash.values import ServerInfo
    from vlm_engine import Section

_TIMEOUT_S = 30.0  # a busy Stash takes that long for a scene with thousands of markers
CheckStash: TypeAlias = "Callable[[PageContext], Sequence[Section]]"
"""Returns what is found about Stash, the queued files and the cluster. The tasks know that."""


class PageContext:
    """Parts that operations share.

    ``connection``: access to Stash, as Stash hands it to a plugin.

    Close it, or use it in ``with``.
    """

    def __init__(
        self, connection: Mapping[str, Any], data_dir: Path, check_stash: CheckStash
    ) -> None:
        self.data_dir = data_dir
        self.check_stash = check_stash
        self._connection = connection
        self._closing = ExitStack()

    @property
    def store_path(self) -> Path:
        """The file of answers and journal, which may not exist yet."""
        return self.data_dir / DATABASE

    @cached_property
    def client(self) -> StashClient:
        """The client of Stash. Nothing is sent before the first call."""
        from haven.stash.http import RetryPolicy
        from haven.stash.transport import StashClient

        # A person waits at the page.
        retry = RetryPolicy(total_s=3.0, unmet_s=0.5)
        client = StashClient(self._connection, timeout_s=_TIMEOUT_S, retry=retry)
        self._closing.callback(client.close)
        return client

    @cached_property
    def server(self) -> ServerInfo:
        """Stash's version and the settings on its page. Raises ``StashError``."""
        from haven.stash.server import handshake

        return handshake(self.client, PLUGIN_ID)

    @cached_property
    def tag_tree(self) -> tuple[StashTag, ...]:
        """All tags of Stash. Raises ``StashError``."""
        from haven.stash.tag_tree import read_tag_tree

        return read_tag_tree(self.client)

    def settings(self, *, with_tags: bool = False) -> Settings:
        """Return all settings as they are now. Raises ``ConfigError`` and ``StashError``.

        ``with_tags``: Stash is asked for the tags that are chosen from its tree.
        """
        from haven.settings.settings import Settings

        return Settings.load(
            stash_page=self.server.settings,
            data_dir=self.data_dir,
            read_tree=(lambda: self.tag_tree) if with_tags else None,
        )

    def merged_settings(self) -> Merged:
        """Return all settings with the tags of Stash's tree, whatever is wrong with some of them.
        Raises ``StashError``.
        """
        from haven.settings.settings import Settings

        merged, _ = Settings.with_faults(
            self.server.settings, self.data_dir, read_tree=lambda: self.tag_tree
        )
        return merged

    def plain_text(self, name: str) -> str:
        """Return a setting that is text and not on Stash's page, without loading all settings."""
        return plain_text((name,), self.data_dir)[name]

    @property
    def report_folder(self) -> Path:
        """The folder of reports."""
        return self.data_dir / self.plain_text("REPORT_FOLDER")

    def close(self) -> None:
        """Close the connections."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
