"""Access to the server: credentials, session cookies that age, an API key."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

COOKIE = "session"


@dataclass(frozen=True)
class Credentials:
    """The one user's name and password."""

    user: str
    password: str


@dataclass(frozen=True)
class Visitor:
    """Sender of a request.

    ``fresh_cookie``: the new cookie value that the reply must set, or None.
    """

    allowed: bool
    fresh_cookie: str | None = None


class Sessions:
    """Decides who is let in, as Stash does.

    A cookie is good for ``idle_s`` seconds after it was issued, also when newer ones have been
    issued since; each reply to a good one sets a new one. Without ``credentials`` everybody is let
    in, save with a wrong API key.
    """

    def __init__(
        self,
        credentials: Credentials | None,
        api_key: str,
        idle_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.credentials = credentials
        self.api_key = api_key
        self.idle_s = idle_s
        self._clock = clock
        self._issued: dict[str, float] = {}

    def issue(self) -> str:
        """Return a new cookie value, good from now on."""
        value = secrets.token_urlsafe(48)
        self._issued[value] = self._clock()
        return value

    def expire_all(self) -> None:
        """Make every cookie issued so far worthless."""
        self._issued.clear()

    def log_in(self, user: str, password: str) -> str | None:
        """Return a new cookie value for the right name and password, else None."""
        return self.issue() if Credentials(user, password) == self.credentials else None

    def visitor(self, api_key: str, cookie: str | None) -> Visitor:
        """Judge a request by its API key (empty: none) and its first session cookie."""
        if api_key:
            return Visitor(allowed=api_key == self.api_key)
        if cookie is not None and self._good(cookie):
            return Visitor(allowed=True, fresh_cookie=self.issue())
        return Visitor(allowed=self.credentials is None)

    def _good(self, cookie: str) -> bool:
        issued = self._issued.get(cookie)
        return issued is not None and self._clock() - issued <= self.idle_s
