"""Values that cross module borders: frozen, with times in seconds from the start of the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from enum import StrEnum
from operator import add
from typing import Protocol, Self


@dataclass(frozen=True, slots=True)
class Cut:
    """Place where the picture probably changes: ``time_s``, and ``strength`` in [0, 1]."""

    time_s: float
    strength: float


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """A video as its index describes it, without decoding.

    ``width`` and ``height`` are the displayed size in pixels, rotation and pixel aspect applied.
    ``key_frames_s`` are the presentation times of the key frames, ascending; a frame asked for at
    exactly such a time costs one decoded frame. ``first_s`` and ``end_s`` are those of the first
    and the last frame. All times count from what players show as 0:00: the first frame comes later
    where sound begins before it, or where the file begins in the middle of a group of pictures.
    ``start_s`` is the container's own time of 0:00. ``key_places`` are the places of the key frames
    in the file, as (byte, own time there), if times do not lead there; else empty. ``bars`` is the
    share of the width that a black bar takes on either side; pictures are sent without them. Size
    and time of change of the file tell whether it is still the same. ``gaps_s`` are the stretches,
    as (start, end), whose pictures the file has lost; where its end is missing, the last one lies
    behind ``duration_s``. ``source`` is where its content comes from; None: the file at ``path``.
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
    """A video that is not a file of this machine."""

    @property
    def name(self) -> str:
        """The path or name in messages. Its words tell how a VR video is laid out."""

    def open(self) -> Content:
        """Return the content from the beginning. The caller closes it. Blocks; raises
        ``MediaError``.
        """


class Content(Protocol):
    """Bytes that are read like an open file's, on one thread at a time.

    ``read`` and ``seek`` may raise ``MediaError``. Size and time of change tell whether it is still
    the content that was opened before.
    """

    @property
    def size_bytes(self) -> int:
        """Size of the whole content."""

    @property
    def modified_ns(self) -> int:
        """Time of change in nanoseconds since the epoch, or always the same number."""

    def read(self, size: int = -1, /) -> bytes:
        """Return this many bytes, or all; fewer only at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Seek as ``io.IOBase.seek``."""

    def tell(self) -> int:
        """Return the position of the next byte."""

    def close(self) -> None:
        """Close it. Harmless when repeated."""


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """A file inside a zip. ``entry``: its name there, with ``/`` between folders."""

    zip_path: str
    entry: str

    def __str__(self) -> str:
        return f"{self.zip_path}/{self.entry}"


@dataclass(frozen=True, slots=True)
class ImageShape:
    """Size of a sent picture: its longest side in pixels (it is never enlarged) and its JPEG
    quality (1-95).
    """

    max_side: int = 1024
    quality: int = 88


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a video, ready to send. ``time_s`` is its true presentation time."""

    time_s: float
    width: int
    height: int
    jpeg: bytes = field(repr=False)


class Form(StrEnum):
    """Form of an answer: the list of tags present, in JSON or as bare names, or a verdict for each
    tag.
    """

    LIST = "list"
    NAMES = "names"
    VERDICTS = "verdicts"


@dataclass(frozen=True, slots=True)
class QuestionStyle:
    """Style of the questions about the frames of a video: the form of the answers, and the size of
    the pictures.
    """

    form: Form = Form.LIST
    shape: ImageShape = ImageShape(512)


@dataclass(frozen=True, slots=True)
class QuestionCost:
    """Seconds of an endpoint's time that a question takes: for the call, for one picture of the
    size that is sent, and for each token of text that is not cached and of the answer.

    Seconds of an endpoint that answers several questions at once are shared among them. The
    defaults are those of a home computer with a graphics card and a model of 8 billion parameters.
    """

    call_s: float = 0.06
    picture_s: float = 0.11
    text_token_s: float = 0.00035
    answer_token_s: float = 0.012

    def times(self, factor: float) -> QuestionCost:
        """Return the cost of a model that takes so many times as long."""
        return QuestionCost(*(factor * part for part in astuple(self)))


@dataclass(frozen=True, slots=True)
class QuestionTerms:
    """Style and cost of the questions to one model about one video: the same from the beginning of
    a search to its end, also if it is broken off in between.
    """

    style: QuestionStyle = field(default_factory=QuestionStyle)
    cost: QuestionCost = field(default_factory=QuestionCost)


@dataclass(frozen=True, slots=True)
class Question:
    """Question which of ``tags`` a picture shows. ``tags`` has the user's order, without
    duplicates.

    ``model``: only an endpoint that serves this model may answer, by the name it has there; "" for
    any.
    ``time_s``: time of the frame in its video; None for a picture by itself. ``more``: further
    frames, in order of time, that the same request asks about one by one; then ``form`` is a list.
    ``pixels``: width times height of the picture; 0 if not known.
    """

    tags: tuple[str, ...]
    form: Form
    jpeg: bytes = field(repr=False)
    model: str = ""
    time_s: float | None = None
    more: tuple[Frame, ...] = field(default=(), repr=False)
    pixels: int = 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """The pixels of each picture."""
        return (self.pixels, *(frame.width * frame.height for frame in self.more))

    @property
    def times_s(self) -> tuple[float | None, ...]:
        """The time of each picture."""
        return (self.time_s, *(frame.time_s for frame in self.more))

    def about(self, pictures: Sequence[int]) -> Question:
        """Return the same question about some of its pictures, by their places from 0."""
        jpegs = (self.jpeg, *(frame.jpeg for frame in self.more))
        first, *rest = pictures
        more = tuple(self.more[place - 1] for place in rest)
        return replace(
            self,
            jpeg=jpegs[first],
            time_s=self.times_s[first],
            more=more,
            pixels=self.sizes[first],
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Verdict on one tag. ``probability`` that it is present; None if not known."""

    present: bool
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class ServerTimings:
    """Times that a server tells of an answer.

    ``prompt_s`` went into the ``prompt_tokens`` that were not in its cache, those of the pictures
    included, ``answer_s`` into the ``answer_tokens``. Time in a queue is not in them.
    """

    prompt_s: float = 0.0
    prompt_tokens: int = 0
    answer_s: float = 0.0
    answer_tokens: int = 0

    def __add__(self, other: ServerTimings) -> ServerTimings:
        return ServerTimings(*map(add, astuple(self), astuple(other)))


@dataclass(frozen=True, slots=True)
class Answer:
    """One verdict for each tag that was asked for, and its origin.

    ``raw`` is the model's reply as it came; token counts are 0 if the server gives none. ``more``:
    the verdicts about each further picture of the question; one may be empty if the reply about it
    could not be read. ``together``: the pictures were sent in one request. ``calls``: requests that
    were answered. ``by_another_model``: ``model`` answered although another was asked for.
    ``cached_tokens``: those of the prompt that the server had in its cache, None if it does not
    tell. ``seconds``: the share of the endpoint's time that it took. ``timings``: the times that
    the server tells, if any.
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
    cached_tokens: int | None = None
    seconds: float = 0.0
    timings: ServerTimings | None = None

    @property
    def by_picture(self) -> tuple[Mapping[str, Verdict], ...]:
        """The verdicts about each picture, in order."""
        return (self.verdicts, *self.more)


@dataclass(frozen=True, slots=True)
class EndpointStats:
    """Statistics of one endpoint.

    ``failed`` counts by the error's name; ``copies`` are questions that another endpoint had
    already.
    ``seconds``: time of a typical answer, None before it is known; ``down_s``: time it did not
    work. ``busy_s``: its time that questions took, in which it was not waiting for any; ``cost``:
    of a question with a picture like the latest one, None before it is known.
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
    busy_s: float = 0.0
    cost: QuestionCost | None = None


class Purpose(StrEnum):
    """Purpose of a question: scan, check a doubtful verdict, place an edge; or tag a still."""

    STILL = "still"
    SCAN = "scan"
    SECOND_LOOK = "second look"
    EDGE = "edge"


@dataclass(frozen=True, slots=True)
class FrameQuery:
    """A frame that the search wants judged for ``tags``."""

    time_s: float
    tags: tuple[str, ...]
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Observation:
    """Result of a query. ``time_s``: true time of the frame. No verdicts: it could not be judged.

    ``scanned``: by the smaller model that scans for the judge."""

    time_s: float
    verdicts: Mapping[str, Verdict]
    scanned: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """Span of time in which ``tag`` applies.

    ``confidence`` in [0, 1] is the probability that the span is right, from all answers and their
    probabilities; a span is right if it and a true one share half of the time that both cover. None
    in a span that no search made.
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
    """Counts of frames: asked, answered, failed; ``unreadable`` are failed frames that do not
    decode.

    ``calls`` counts requests that a model answered; ``seconds`` is the time of the endpoints that
    they took.
    """

    asked: int = 0
    answered: int = 0
    failed: int = 0
    calls: int = 0
    unreadable: int = 0
    seconds: float = field(default=0.0, compare=False)

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(*map(add, astuple(self), astuple(other)))


LEAST_COVERAGE = 0.9
"""A video fails when a model could judge a smaller share of the frames that could be read."""


@dataclass(frozen=True, slots=True)
class VideoTagInfo:
    """Tags of a video by category, and the spans that become markers, by the user's rules."""

    duration_s: float
    tags: Mapping[str, tuple[str, ...]]
    totals_s: Mapping[str, Mapping[str, float]]
    spans: Mapping[str, Mapping[str, tuple[Span, ...]]]

    @classmethod
    def of(cls, duration_s: float, spans: Mapping[str, Mapping[str, tuple[Span, ...]]]) -> Self:
        """Return the info that follows from the spans, by category and tag."""
        return cls(
            duration_s,
            tags={category: tuple(by_tag) for category, by_tag in spans.items()},
            totals_s={
                category: {
                    tag: sum(span.duration_s for span in tag_spans)
                    for tag, tag_spans in by_tag.items()
                }
                for category, by_tag in spans.items()
            },
            spans=spans,
        )


@dataclass(frozen=True, slots=True)
class ImageTagInfo:
    """Tags of a picture by category, with the confidence of each or None, by the user's rules."""

    tags: Mapping[str, tuple[str, ...]]
    confidences: Mapping[str, Mapping[str, float | None]]

    @classmethod
    def of(cls, confidences: Mapping[str, Mapping[str, float | None]]) -> Self:
        """Return the info that follows from the confidences, by category and tag."""
        tags = {category: tuple(sorted(by_tag)) for category, by_tag in confidences.items()}
        return cls(tags, confidences)


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of one video: its frames so far, and how many are expected in all.

    ``fraction`` never decreases."""

    coverage: Coverage
    expected: int

    @property
    def settled(self) -> int:
        """Frames that were judged or given up."""
        return self.coverage.answered + self.coverage.failed

    @property
    def fraction(self) -> float:
        """Share of the expected frames, in [0, 1]."""
        return min(1.0, self.settled / self.expected) if self.expected else 0.0


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings for the tags of one category: the spans before the user's rules, and all
    observations.

    ``observations`` pairs the time that was asked for with what was seen. From them alone, or from
    ``spans``, the video can be described under other rules without a model. ``searches`` are groups
    of tags that were searched together, and a fingerprint of the settings: with the same settings
    they need not be searched again. ``terms``: those of the model, then of the smaller one that
    scans for it, if any.
    """

    category: str
    spans: tuple[Span, ...]
    observations: tuple[tuple[float, Observation], ...]
    searches: tuple[tuple[tuple[str, ...], str], ...] = ()
    terms: tuple[QuestionTerms, ...] = ()


@dataclass(frozen=True, slots=True)
class ComparedTag:
    """Frames on which a model was asked about a tag in two styles, and on how many it saw the tag
    in each.
    """

    tag: str
    frames: int
    usual: int
    other: int


@dataclass(frozen=True, slots=True)
class StyleComparison:
    """Comparison of two styles of asking ``model``, the usual one and another, as words; and the
    one that is in use.
    """

    model: str
    usual: str
    other: str
    in_use: str
    tags: tuple[ComparedTag, ...]


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The model that judged, by the name that its server gives, and a fingerprint of the words in
    which it was asked, both as in the answer store.
    """

    model: str
    wording: str


@dataclass(frozen=True, slots=True)
class VideoResult:
    """Result of one video: tags and spans by the user's rules, and what they were made of.

    ``gaps_s`` are the stretches, as (start, end), in which no frame could be read: nothing is known
    about them. ``calls``: requests that each model answered, by its name in the settings;
    ``seconds``: the time of the endpoints that they took. ``judges``: by category. ``effort``: that
    of the search.
    """

    video: VideoInfo
    info: VideoTagInfo
    findings: tuple[Findings, ...]
    coverage: Coverage
    gaps_s: tuple[tuple[float, float], ...] = ()
    calls: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    judges: Mapping[str, ModelIdentity] = field(default_factory=dict)
    effort: float = 1.0


@dataclass(frozen=True, slots=True)
class ImageResult:
    """Result of one picture. ``calls``, ``seconds`` and ``judges`` are as those of a video.

    ``verdicts``: those before the user's rules, by category and tag.
    """

    info: ImageTagInfo
    coverage: Coverage
    calls: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    verdicts: Mapping[str, Mapping[str, Verdict]] = field(default_factory=dict)
    judges: Mapping[str, ModelIdentity] = field(default_factory=dict)
