"""Read scenes, images and galleries from Stash, and write tags and markers back.

``MediaHandler`` is the one place that talks to Stash. Every call blocks; use one handler in one
thread at a time.
"""

from haven.stash.errors import StashError
from haven.stash.handler import MediaHandler
from haven.stash.http import RetryPolicy
from haven.stash.server import handshake
from haven.stash.transport import StashClient

__all__ = ["MediaHandler", "RetryPolicy", "StashClient", "StashError", "handshake"]
