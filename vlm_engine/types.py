"""The values that cross module borders: frozen, and times always in float seconds from the beginning of the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Cut:
    """A place where the picture probably changes: ``time_s``, and ``strength`` in [0, 1]."""

    time_s: float
    strength: float


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video's index tells without decoding it.

    ``width`` and ``height`` are the displayed size in pixels, rotation and pixel aspect applied.
    ``key_frames_s`` are the presentation times of the key frames, ascending; a frame asked for at
    exactly such a time costs one decoded frame. ``first_s`` and ``end_s`` are those of the first and the last frame.
    All times count from what players show as 0:00: the first frame comes later where sound begins before it, or where
    the file begins in the middle of a group of pictures. ``start_s`` is the container's own time of 0:00.
    ``key_places`` are where in the file each key frame is found, as (byte, its own time there), if times do not lead
    there; else empty. ``bars`` is the share of the width that a black bar takes on either side; pictures are sent
    without them. Size and time of change of the file tell whether it is still the one that was looked at.
    ``gaps_s`` are the stretches, as (start, end), whose pictures the file has lost; where its end is missing, the last
    one lies behind ``duration_s``.
    ``source`` is where its content comes from; None: from the file at ``path``.
    """

    path: str
    identity: str
    duration_s: float
    end_s: float
    width: int
    height: int
    frame_rate: float
    codec: str
    key_frames_s: tuple[float, ...] = ()
    cuts: tuple[Cut, ...] = ()
    start_s: float = 0.0
    size_bytes: int = 0
    modified_ns: int = 0
    gaps_s: tuple[tuple[float, float], ...] = ()
    bars: float = 0.0
    first_s: float = 0.0
    key_places: tuple[tuple[int, int | None], ...] = ()
    source: Source | None = field(default=None, repr=False, compare=False)


class Source(Protocol):
    """A video that is no file of this machine."""

    @property
    def name(self) -> str:
        """What messages call it, and whose words tell how a VR video is laid out: a path, as somebody else has it."""

    def open(self) -> Content:
        """Its content from the beginning. The caller closes it. Blocks; raises ``MediaError``."""


class Content(Protocol):
    """Bytes that are read like an open file's, on one thread at a time. ``read`` and ``seek`` may raise ``MediaError``.

    Size and time of change tell whether it is still what it was when it was opened before.
    """

    @property
    def size_bytes(self) -> int:
        """All of it."""

    @property
    def modified_ns(self) -> int:
        """In nanoseconds since the epoch, or always the same."""

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes, or all; fewer only at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As ``io.IOBase.seek``."""

    def tell(self) -> int:
        """Where the next byte is read."""

    def close(self) -> None:
        """Harmless when repeated."""


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """A file inside a zip. ``entry``: its name there, as the zip or Stash writes it, with ``/`` between folders."""

    zip_path: str
    entry: str

    def __str__(self) -> str:
        return f"{self.zip_path}/{self.entry}"


@dataclass(frozen=True, slots=True)
class ImageShape:
    """How a picture is sent: longest side in pixels (it is never enlarged) and JPEG quality (1-95)."""

    max_side: int = 1024
    quality: int = 88


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a video, ready to send. ``time_s`` is the true presentation time of the picture."""

    time_s: float
    width: int
    height: int
    jpeg: bytes = field(repr=False)


class Form(StrEnum):
    """How a question wants its answer: the list of tags present, or a verdict for each tag."""

    LIST = "list"
    VERDICTS = "verdicts"


@dataclass(frozen=True, slots=True)
class Question:
    """Which of ``tags`` does this picture show? ``tags`` is in the order the user gave, without duplicates.

    ``model``: only an endpoint that serves it may answer, by the name it has there; "" for any. ``time_s``: that of the
    frame in its video; None for a picture by itself. ``more``: frames that are asked about in the same request, each by itself,
    in order of time; then ``form`` is a list.
    """

    tags: tuple[str, ...]
    form: Form
    jpeg: bytes = field(repr=False)
    model: str = ""
    time_s: float | None = None
    more: tuple[Frame, ...] = field(default=(), repr=False)

    @property
    def times_s(self) -> tuple[float | None, ...]:
        """The time of each picture."""
        return (self.time_s, *(frame.time_s for frame in self.more))

    def about(self, pictures: Sequence[int]) -> Question:
        """The same about some of its pictures, by their places from 0."""
        jpegs = (self.jpeg, *(frame.jpeg for frame in self.more))
        first, *rest = pictures
        more = tuple(self.more[place - 1] for place in rest)
        return replace(self, jpeg=jpegs[first], time_s=self.times_s[first], more=more)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one tag applies. ``probability`` of presence where the server told it, else None."""

    present: bool
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One verdict for each tag that was asked for, and where it came from.

    ``raw`` is the model's reply as it came; token counts are 0 where the server does not tell them. ``more``: the verdicts about
    each further picture of the question. Of several pictures, some may be left without verdicts: what was said about
    them could not be read. ``together``: they were shown in one request. ``calls``: requests that were answered for it.
    ``by_another_model``: ``model`` answered although another was asked for.
    """

    verdicts: Mapping[str, Verdict]
    raw: str = field(repr=False)
    model: str
    endpoint: str
    prompt_tokens: int = 0
    answer_tokens: int = 0
    more: tuple[Mapping[str, Verdict], ...] = ()
    together: bool = False
    calls: int = 1
    by_another_model: bool = False

    @property
    def by_picture(self) -> tuple[Mapping[str, Verdict], ...]:
        """The verdicts about each picture, in their order."""
        return (self.verdicts, *self.more)


@dataclass(frozen=True, slots=True)
class EndpointStats:
    """What one endpoint did so far.

    ``failed`` counts by the error's name; ``copies`` are questions that it was given although another endpoint had
    them already. ``seconds``: a typical answer's time, None before it is known; ``down_s``: how long it did not work.
    """

    state: str
    slots: int
    in_flight: int
    served: int
    failed: Mapping[str, int]
    copies: int
    seconds: float | None
    down_s: float
    prompt_tokens: int
    answer_tokens: int


class Purpose(StrEnum):
    """Why to look: to scan a video, to check a doubtful verdict, to place an edge; or because it is a picture by itself."""

    STILL = "still"
    SCAN = "scan"
    SECOND_LOOK = "second look"
    EDGE = "edge"


@dataclass(frozen=True, slots=True)
class FrameQuery:
    """A frame the search wants judged for ``tags``."""

    time_s: float
    tags: tuple[str, ...]
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Observation:
    """What came of a look. ``time_s``: the true time of the frame. No verdicts: it could not be judged.

    ``scanned``: by the smaller model that scans for the one that judges.
    """

    time_s: float
    verdicts: Mapping[str, Verdict]
    scanned: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """``tag`` applies from ``start_s`` to ``end_s``.

    ``confidence`` in [0, 1]: how probably that is right, all answers considered, and how sure servers said they
    were; a span is right if it and a true one share half of the time that both cover. None in a span that no search made.
    """

    tag: str
    start_s: float
    end_s: float
    confidence: float | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class Coverage:
    """Frames that were wanted, judged, and could not be judged, of those ``unreadable`` because they do not decode.

    ``calls`` counts requests that a model answered.
    """

    asked: int = 0
    answered: int = 0
    failed: int = 0
    calls: int = 0
    unreadable: int = 0

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(
            self.asked + other.asked,
            self.answered + other.answered,
            self.failed + other.failed,
            self.calls + other.calls,
            self.unreadable + other.unreadable,
        )


@dataclass(frozen=True, slots=True)
class VideoTagInfo:
    """What a video shows, by the user's rules: tags by category, and the spans that become markers."""

    duration_s: float
    tags: Mapping[str, tuple[str, ...]]
    totals_s: Mapping[str, Mapping[str, float]]
    spans: Mapping[str, Mapping[str, tuple[Span, ...]]]


@dataclass(frozen=True, slots=True)
class ImageTagInfo:
    """What a picture shows, by the user's rules: tags by category, with the confidence of each, or None."""

    tags: Mapping[str, tuple[str, ...]]
    confidences: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one video is: what came of the frames settled so far, and how many are expected in all.

    ``fraction`` only ever grows towards 1.
    """

    coverage: Coverage
    expected: int

    @property
    def settled(self) -> int:
        """Frames judged or given up."""
        return self.coverage.answered + self.coverage.failed

    @property
    def fraction(self) -> float:
        """In [0, 1]."""
        return min(1.0, self.settled / self.expected) if self.expected else 0.0


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found for the tags of one category: the spans before the user's rules, and everything seen.

    ``observations`` pairs the time that was asked for with what was seen; from them alone, or from ``spans``, the
    same video can be described under other rules without a model. ``searches`` are the tags that were searched together, and
    how: what is as it was then need not be searched again.
    """

    category: str
    spans: tuple[Span, ...]
    observations: tuple[tuple[float, Observation], ...]
    searches: tuple[tuple[tuple[str, ...], str], ...] = ()


@dataclass(frozen=True, slots=True)
class VideoResult:
    """What came of one video: the tags and spans by the user's rules, and what they were made of, by category.

    ``gaps_s`` are the stretches, as (start, end), of which no frame could be read: nothing is said about them. ``calls``:
    requests that each model answered, by its name.
    """

    video: VideoInfo
    info: VideoTagInfo
    findings: tuple[Findings, ...]
    coverage: Coverage
    gaps_s: tuple[tuple[float, float], ...] = ()
    calls: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What came of one picture. ``calls``: requests that each model answered, by its name."""

    info: ImageTagInfo
    coverage: Coverage
    calls: Mapping[str, int] = field(default_factory=dict)
