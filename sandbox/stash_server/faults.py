"""Failures on purpose."""

from __future__ import annotations

from sandbox.stash_server.database import RefusedError


class Faults:
    """The faults that are due: each count goes down as it is used up, times stay.

    ``delay_s``: before each request. ``hook_s``: so long the hooks of other plugins take for each
    item that a request changes.

    ``locked_mutations``: so many changes of the library fail with "database is locked", each alias
    on its own. ``failing_requests``: so many requests get status 500 and are not executed.
    """

    def __init__(self) -> None:
        self.locked_mutations = 0
        self.failing_requests = 0
        self.delay_s = 0.0
        self.hook_s = 0.0

    def take_lock(self) -> None:
        """Use up one locked mutation: ``RefusedError`` while there are any."""
        if self.locked_mutations > 0:
            self.locked_mutations -= 1
            raise RefusedError("beginning transaction: database is locked")

    def take_failure(self) -> bool:
        """Use up one failing request; False when there are none."""
        if self.failing_requests > 0:
            self.failing_requests -= 1
            return True
        return False
