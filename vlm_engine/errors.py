"""Every error the engine raises, in one tree.

::

    VLMEngineError
    ├── ConfigError                  a setting is wrong; the message names the key and the remedy
    ├── MediaError                   a video or picture cannot be used
    │   ├── MediaNotFoundError       there is no file at that path
    │   ├── MediaUnreadableError     the file is there, but is not readable media
    │   │   ├── MediaOutOfReachError it is there, but this user, or this machine, does not get at it
    │   │   ├── ArchiveError         the zip that it is in does not give it out
    │   │   └── MediaUnsupportedError it is of a kind that is not read here; other programs may show it
    │   └── FrameError               one frame could not be decoded; others may
    ├── ClientError                  one request to one endpoint came to nothing
    │   ├── EndpointError            the endpoint is at fault: every request to it would fail
    │   │   ├── UnreachableError     refused, dropped, no such host
    │   │   ├── WrongKeyError        401, 403 that speaks of the key
    │   │   ├── WrongModelError      it does not serve that model
    │   │   └── NoVisionError        its model cannot see pictures
    │   ├── BusyError                429, 503: later; ``retry_after_s`` where the server said when
    │   ├── RequestError             the endpoint refuses this request; another may take it
    │   ├── ServerError              500 and the like: nobody knows whose fault it is
    │   │   └── TimedOutError        no answer in time
    │   └── ReplyError               an answer came, but cannot be read as one
    ├── NoEndpointError              no endpoint is left to ask; a group that holds every cause
    ├── CoverageError                too few of a video's frames could be read and judged to call it done
    └── StoreError                   the answer store cannot be used

An endpoint's errors carry ``endpoint``, its name, and quote the server's own words. No message ever
holds an API key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class VLMEngineError(Exception):
    """The root: catch this to catch everything the engine raises on purpose."""


class ConfigError(VLMEngineError):
    """A setting is wrong. The message lists every fault found, each with its key."""


class MediaError(VLMEngineError):
    """A video or picture cannot be used. The message names the file."""


class MediaNotFoundError(MediaError):
    """There is no file at that path."""


class MediaUnreadableError(MediaError):
    """The file is there but cannot be opened, holds no picture, or stops decoding at once."""


class MediaOutOfReachError(MediaUnreadableError):
    """The file is there, but may not be read, or its disk or server does not answer. Elsewhere it may be readable."""


class ArchiveError(MediaUnreadableError):
    """A zip, or what it says of a file in it, is damaged. Other programs may read it all the same."""


class MediaUnsupportedError(MediaUnreadableError):
    """The file is of a kind, or of a size, that is not read here. Nothing need be wrong with it: other programs may show it.

    ``reason``: what it is, without its name.
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class FrameError(MediaError):
    """One frame could not be decoded. The frame is unjudged; the video goes on."""


class ClientError(VLMEngineError):
    """One request to one endpoint came to nothing."""

    def __init__(self, message: str, *, endpoint: str = "") -> None:
        super().__init__(message)
        self.endpoint = endpoint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{self.endpoint}: {message}" if self.endpoint else message


class EndpointError(ClientError):
    """The endpoint is at fault: every request to it would fail until something changes there."""


class UnreachableError(EndpointError):
    """Nobody answers at that address."""


class WrongKeyError(EndpointError):
    """The endpoint does not accept the API key."""


class WrongModelError(EndpointError):
    """The endpoint does not serve the model that was asked for."""


class NoVisionError(EndpointError):
    """The endpoint's model cannot see pictures."""


class BusyError(ClientError):
    """The endpoint asks for patience. ``retry_after_s``: seconds it named, or None."""

    def __init__(
        self, message: str, *, endpoint: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, endpoint=endpoint)
        self.retry_after_s = retry_after_s


class RequestError(ClientError):
    """The endpoint refuses this request as it stands. Raised to the caller when every endpoint that was tried does."""


class ServerError(ClientError):
    """The server failed, and nobody can tell whether by its own or by the request's fault."""


class TimedOutError(ServerError):
    """The server gave no answer in time."""


class ReplyError(ClientError):
    """A reply came but cannot be read as an answer. ``raw``: the reply's text; a client gives a short form without its key."""

    def __init__(self, message: str, *, endpoint: str = "", raw: str = "") -> None:
        super().__init__(message, endpoint=endpoint)
        self.raw = raw


class NoEndpointError(VLMEngineError, ExceptionGroup[ClientError]):
    """No endpoint is left to ask. ``exceptions`` holds the cause of each endpoint's end."""

    def __new__(cls, message: str, causes: Sequence[ClientError]) -> Self:
        """``causes`` must not be empty."""
        return super().__new__(cls, message, causes)

    def derive(self, excs: Sequence[ClientError]) -> NoEndpointError:  # type: ignore[override]
        """Keeps the type when Python splits the group (``except*``)."""
        return NoEndpointError(self.message, excs)

    def __str__(self) -> str:
        return " ".join(
            _sentence(text) for text in (self.message, *(str(cause) for cause in self.exceptions))
        )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!", '."', '?"')) else f"{text}."


class CoverageError(VLMEngineError):
    """Too few of a video's frames could be read and judged to call it done. What was answered is stored."""


class StoreError(VLMEngineError):
    """The answer store cannot be used. The message names the file and the remedy."""
