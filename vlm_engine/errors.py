"""Every error the engine raises on purpose, in one tree.

::

    VLMEngineError
    ├── ConfigError                   a setting is wrong; the message names the key and the remedy
    ├── MediaError                    a video or picture cannot be used
    │   ├── MediaNotFoundError        there is no file at that path
    │   ├── MediaUnreadableError      the file is there, but is not readable media
    │   │   ├── MediaOutOfReachError  this user, or this machine, cannot access the file
    │   │   ├── ArchiveError          the zip around the file is damaged
    │   │   └── MediaUnsupportedError its kind is not supported; other programs may show it
    │   └── FrameError                one frame could not be decoded; others may
    ├── ClientError                   a request to an endpoint failed
    │   ├── EndpointError             the endpoint is at fault: every request to it would fail
    │   │   ├── UnreachableError      refused, dropped, no such host
    │   │   ├── WrongKeyError         401, or a 403 that mentions the key
    │   │   ├── WrongModelError       it does not serve the model
    │   │   ├── NoVisionError         its model cannot see pictures
    │   │   └── UnsoundError          its answers are about other pictures
    │   ├── BusyError                 429, 503: ask again later
    │   ├── RequestError              the endpoint refuses this request; another may take it
    │   ├── ServerError               500 and the like: the fault may be anywhere
    │   │   └── TimedOutError         no answer in time
    │   └── ReplyError                the reply cannot be read as an answer
    ├── NoEndpointError               no endpoint is left to ask; a group with every cause
    ├── CoverageError                 too few frames of a video could be read and judged
    ├── WorkerLostError               every worker that worked on a file was lost
    └── StoreError                    the answer store cannot be used

An endpoint's errors have its name as ``endpoint`` and quote the server. No message contains an API
key.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Self


class VLMEngineError(Exception):
    """Base of all errors that the engine raises on purpose. They cross process borders whole."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[VLMEngineError], args: tuple[Any, ...], values: dict[str, Any]
) -> VLMEngineError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(values)
    return error


class ConfigError(VLMEngineError):
    """A setting is wrong. The message lists every fault found, each with its key."""


class MediaError(VLMEngineError):
    """A video or picture cannot be used. The message names the file."""


class MediaNotFoundError(MediaError):
    """There is no file at that path."""


class MediaUnreadableError(MediaError):
    """The file is there but cannot be opened, holds no picture, or stops decoding at once."""


class MediaOutOfReachError(MediaUnreadableError):
    """The file cannot be accessed, or its disk or server does not respond.

    It may be readable from elsewhere.
    """


class ArchiveError(MediaUnreadableError):
    """A zip, or its entry for a file, is damaged. Other programs may still read it."""


class MediaUnsupportedError(MediaUnreadableError):
    """The kind or size of the file is not supported. Other programs may show it.

    ``reason``: the message without the file's name.
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class FrameError(MediaError):
    """A frame could not be decoded. It is skipped; the video goes on."""


class ClientError(VLMEngineError):
    """A request to an endpoint failed. ``endpoint``: the endpoint's name, or ""."""

    def __init__(self, message: str, *, endpoint: str = "") -> None:
        super().__init__(message)
        self.endpoint = endpoint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{self.endpoint}: {message}" if self.endpoint else message


class EndpointError(ClientError):
    """The endpoint is at fault: every request to it would fail until something changes there."""


class UnreachableError(EndpointError):
    """No server responds at that address."""


class WrongKeyError(EndpointError):
    """The endpoint does not accept the API key."""


class WrongModelError(EndpointError):
    """The endpoint does not serve the requested model."""


class NoVisionError(EndpointError):
    """The endpoint's model cannot see pictures."""


class UnsoundError(EndpointError):
    """The endpoint answers about other pictures than those of the questions."""


class BusyError(ClientError):
    """The endpoint is busy. ``retry_after_s``: the pause it asks for in seconds, or None."""

    def __init__(
        self, message: str, *, endpoint: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, endpoint=endpoint)
        self.retry_after_s = retry_after_s


class RequestError(ClientError):
    """The endpoint refuses this request. A pool raises it when every endpoint it tried did."""


class ServerError(ClientError):
    """The server failed, by its own fault or the request's."""


class TimedOutError(ServerError):
    """The server gave no answer in time."""


class ReplyFault(StrEnum):
    """The reason why a reply cannot be read."""

    UNREADABLE = "it does not answer the question"
    WITHHELD = "a filter of the service withheld it"
    REFUSED = "the model refused"
    ONLY_THOUGHT = "the model only thought"


class ReplyError(ClientError):
    """A reply cannot be read as an answer.

    ``raw``: the reply's text; a client shortens it and removes its key. ``seconds``: the share of
    the endpoint's time that it took.
    """

    def __init__(
        self,
        message: str,
        *,
        endpoint: str = "",
        raw: str = "",
        seconds: float = 0.0,
        fault: ReplyFault = ReplyFault.UNREADABLE,
    ) -> None:
        super().__init__(message, endpoint=endpoint)
        self.raw = raw
        self.seconds = seconds
        self.fault = fault


class NoEndpointError(VLMEngineError, ExceptionGroup[ClientError]):
    """No endpoint is left to ask. ``exceptions``: the reason of each endpoint."""

    def __new__(cls, message: str, causes: Sequence[ClientError]) -> Self:
        """Create the group. ``causes`` must not be empty."""
        return super().__new__(cls, message, causes)

    def derive(self, excs: Sequence[ClientError]) -> NoEndpointError:  # type: ignore[override]
        """Keep the type when Python splits the group (``except*``)."""
        return NoEndpointError(self.message, excs)

    def __str__(self) -> str:
        return " ".join(
            _sentence(text) for text in (self.message, *(str(cause) for cause in self.exceptions))
        )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!", '."', '?"')) else f"{text}."


class CoverageError(VLMEngineError):
    """Too few frames of a video could be read and judged. The answers so far are stored."""


class WorkerLostError(VLMEngineError):
    """Every worker of a cluster that worked on a file was lost. The message names the file."""


class StoreError(VLMEngineError):
    """The answer store cannot be used. The message names the file and the remedy."""
