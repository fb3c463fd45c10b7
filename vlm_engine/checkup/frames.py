"""Frames of a user's videos, asked about in every style of question: which frames, and the
questions. Each is stored as an ordinary answer, so a later run does not ask it again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from operator import attrgetter, itemgetter
from pathlib import Path
from statistics import fmean, median
from typing import TypeAlias

from vlm_engine.checkup.agreement import FrameComparison, StyleFigures, counts_by_tag
from vlm_engine.config.models import EngineConfig
from vlm_engine.errors import FrameError, MediaError
from vlm_engine.search import Costs, VideoSearch
from vlm_engine.tagging.cached_client import CachedAnswers, CachedClient, FrameOutcome
from vlm_engine.tagging.requests import VideoRequest
from vlm_engine.tagging.styles import every_style, is_small, style_in
from vlm_engine.tagging.terms import sent_pixels
from vlm_engine.tagging.video import cache_key_of, probe, vr_layout
from vlm_engine.tasks import gather_or_cancel
from vlm_engine.types import (
    Frame,
    FrameQuery,
    ImageShape,
    Purpose,
    QuestionStyle,
    QuestionTerms,
    Source,
    Verdict,
    VideoInfo,
)
from vlm_engine.video import VideoReader
from vlm_engine.vr import Layout

OnFraction = Callable[[float], None]
"""Called with the share that is done, from 0 to 1; it never decreases."""
_SEED = b"frames 1"
_FILES_AT_ONCE = 4
_MOST_SKIPPED = 20
_MIDDLE = 0.1
"""The share of a video at either end that is left out: openings and credits are like no other
frames."""
_GOLDEN = 0.6180339887498949
_LEAST_MEASURED = 5
_Question: TypeAlias = tuple[int, QuestionStyle]
"""The number of a frame, and the style in which it is asked about."""


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A video whose frames may be asked about. The fields are those of ``VLMEngine.tag_video``."""

    source: str | Path | Source
    identity: str | None = None
    vr_video: bool = False

    @property
    def name(self) -> str:
        """Its path, or its name in messages."""
        return str(self.source) if isinstance(self.source, str | Path) else self.source.name

    @property
    def rank(self) -> bytes:
        """Its place in an order that other videos do not change."""
        return hashlib.sha256(_SEED + (self.identity or self.name).encode()).digest()


async def compare_styles(
    clients: Sequence[CachedClient],
    videos: Iterable[VideoFile],
    frames: int,
    config: EngineConfig,
    on_progress: OnFraction,
) -> tuple[FrameComparison, ...]:
    """Return the comparison of each model on the same frames of these videos.

    The frames are times of the scans of the videos, the same ones whenever the videos are the same.
    All pictures are in memory until the end: about 0.2 MB for a frame. Files that cannot be read
    are skipped; their names are in the result. Raises ``NoEndpointError`` and ``StoreError``.
    """
    sample = await _Sample.of(videos, frames, clients[0].model.tag_list, config)
    trials = [await _Trial.begin(client, sample.frames) for client in clients]
    left = [question for trial in trials for question in trial.left]
    steps = _Steps(len(sample.frames) + len(left), on_progress)
    wanted: list[set[ImageShape]] = [set() for _ in sample.frames]
    for number, style in left:
        wanted[number].add(style.shape)
    pictures = await sample.read(wanted, config, steps)
    for trial in trials:
        await trial.ask(pictures, steps)
    on_progress(1.0)
    return tuple(trial.comparison(sample.skipped) for trial in trials)


@dataclass(slots=True)
class _Steps:
    total: int
    on_progress: OnFraction
    done: int = 0

    def advance(self) -> None:
        self.done += 1
        self.on_progress(min(1.0, self.done / self.total))


@dataclass(frozen=True, slots=True)
class _Video:
    """A video that can be read. ``times_s``: times of its scan, in the order of their use."""

    info: VideoInfo
    layout: Layout | None
    cache_key: str
    times_s: Sequence[float]


@dataclass(frozen=True, slots=True)
class _SampledFrame:
    video: _Video
    time_s: float


@dataclass(slots=True)
class _Sample:
    frames: Sequence[_SampledFrame]
    skipped: list[str]

    @classmethod
    async def of(
        cls, videos: Iterable[VideoFile], frames: int, tags: Sequence[str], config: EngineConfig
    ) -> _Sample:
        """Return frames of as many of the videos as possible, a similar number of each."""
        skipped, found = list[str](), dict[str, _Video]()
        ranked = iter(
            sorted({video.rank: video for video in videos}.values(), key=attrgetter("rank"))
        )
        while len(found) < frames and len(skipped) < _MOST_SKIPPED:
            some = list(islice(ranked, min(_FILES_AT_ONCE, frames - len(found))))
            if not some:
                break
            for one in await gather_or_cancel([_probed(video, tags, config) for video in some]):
                if isinstance(one, MediaError):
                    skipped.append(str(one))
                else:
                    found[one.cache_key] = one
        return cls([*islice(_in_turn([*found.values()]), frames)], skipped)

    async def read(
        self, wanted: Sequence[set[ImageShape]], config: EngineConfig, steps: _Steps
    ) -> list[Mapping[ImageShape, Frame]]:
        """Return each frame in the shapes that are wanted of it; none where it cannot be read."""
        at_once = asyncio.Semaphore(_FILES_AT_ONCE)
        pictures: list[Mapping[ImageShape, Frame]] = [{} for _ in self.frames]
        numbers: dict[str, list[int]] = defaultdict(list)
        for number, frame in enumerate(self.frames):
            numbers[frame.video.cache_key].append(number)

        async def read_video(of_video: Sequence[int]) -> None:
            video = self.frames[of_video[0]].video
            shapes = {self.frames[number].time_s: wanted[number] for number in of_video}
            async with at_once:
                found = await asyncio.to_thread(_pictures, video, shapes, config)
            if isinstance(found, MediaError):
                self.skipped.append(str(found))
                found = {}
            for number in of_video:
                picture = found.get(self.frames[number].time_s, {})
                if isinstance(picture, FrameError):
                    self.skipped.append(str(picture))
                else:
                    pictures[number] = picture
                steps.advance()

        await gather_or_cancel([read_video(of_video) for of_video in numbers.values()])
        return pictures


async def _probed(
    video: VideoFile, tags: Sequence[str], config: EngineConfig
) -> _Video | MediaError:
    """Return the video; an error if it cannot be read."""
    try:
        info = await probe(VideoRequest(video.source, video.identity), config)
    except MediaError as error:
        return error
    layout = vr_layout(info, config) if video.vr_video else None
    times_s = await asyncio.to_thread(_times, info, tags, config)
    return _Video(info, layout, cache_key_of(info, layout), times_s)


def _times(info: VideoInfo, tags: Sequence[str], config: EngineConfig) -> list[float]:
    """Return the times of the scan in the middle of the video, spread evenly however few are used.

    They are those at multiples of the golden ratio, whose fractions always fall into large gaps.
    """
    scan = [query.time_s for query in VideoSearch(info, tags, config.search).next_queries()]
    first_s, end_s = _MIDDLE * info.duration_s, (1 - _MIDDLE) * info.duration_s
    middle = [time_s for time_s in scan if first_s <= time_s <= end_s] or scan
    start = int.from_bytes(hashlib.sha256(info.identity.encode()).digest()[:4]) / 2**32
    places = (int((start + number * _GOLDEN) % 1 * len(middle)) for number in range(len(scan) * 4))
    return [middle[place] for place in dict.fromkeys((*places, *range(len(middle))))]


def _in_turn(videos: Sequence[_Video]) -> Iterator[_SampledFrame]:
    """Yield the first frame of each video, then the second of each, and so on."""
    for turn in range(max((len(video.times_s) for video in videos), default=0)):
        for video in videos:
            if turn < len(video.times_s):
                yield _SampledFrame(video, video.times_s[turn])


def _pictures(
    video: _Video, shapes: Mapping[float, set[ImageShape]], config: EngineConfig
) -> Mapping[float, Mapping[ImageShape, Frame] | FrameError] | MediaError:
    wanted = {time_s: some for time_s, some in shapes.items() if some}
    if not wanted:
        return {}
    settings = config.video
    try:
        with VideoReader(
            video.info, vr=video.layout, hwaccel=settings.hwaccel, stall_s=settings.stall_s
        ) as reader:
            return dict(reader.pictures(wanted))
    except MediaError as error:
        return error


class _Trial:
    """One model, asked about each frame in every style that is not stored yet.

    An endpoint divides its time evenly among the questions that it has at once, and may remember a
    picture. So the questions of one style are asked together, and only those are timed whose
    picture it has not seen: each form goes first on a third of the frames.
    """

    def __init__(
        self,
        client: CachedClient,
        frames: Sequence[_SampledFrame],
        answers: Mapping[str, CachedAnswers],
    ) -> None:
        self._client = client
        self._frames = frames
        self._styles = every_style(client.model)
        self._seen: dict[_Question, dict[str, bool]] = defaultdict(dict)
        self._outcomes: dict[QuestionStyle, list[FrameOutcome]] = defaultdict(list)
        self._seconds: dict[QuestionStyle, list[float]] = defaultdict(list)
        self._failures: dict[str, None] = {}
        for number, style in self._questions():
            cache_key = frames[number].video.cache_key
            known = answers[cache_key].find(self._query(number, client.model.tag_list), style)
            if known is not None:
                self._note_seen((number, style), known.verdicts)

    @classmethod
    async def begin(cls, client: CachedClient, frames: Sequence[_SampledFrame]) -> _Trial:
        """Return the trial with all that is stored. Raises ``NoEndpointError``."""
        keys = dict.fromkeys(frame.video.cache_key for frame in frames)
        return cls(client, frames, {key: await client.load_answers(key) for key in keys})

    @property
    def left(self) -> list[_Question]:
        """The questions that are still to be asked, style by style."""
        return [question for question in self._questions() if self._tags_left(question)]

    async def ask(self, pictures: Sequence[Mapping[ImageShape, Frame]], steps: _Steps) -> None:
        """Ask what is left. Raises ``NoEndpointError``."""
        left = self.left
        fresh = [question for question in left if self._goes_first(*question)]
        others = [question for question in left if question not in set(fresh)]
        # The first question may load the model.
        for some, are_timed in ((fresh[:1], False), (fresh[1:], True), (others, False)):
            for _, questions in groupby(some, key=itemgetter(1)):
                ask = partial(self._ask, pictures, steps, is_timed=are_timed)
                await gather_or_cancel([ask(question) for question in questions])

    async def _ask(
        self,
        pictures: Sequence[Mapping[ImageShape, Frame]],
        steps: _Steps,
        question: _Question,
        *,
        is_timed: bool,
    ) -> None:
        number, style = question
        if frame := pictures[number].get(style.shape):
            query = self._query(number, self._tags_left(question))
            cache_key = self._frames[number].video.cache_key
            async with self._client.open_questions:
                (outcome,) = await self._client.ask_frames(cache_key, [(query, frame)], style)
            if outcome.error is not None:
                self._failures[str(outcome.error)] = None
            else:
                self._note_seen(question, outcome.verdicts)
                self._outcomes[style].append(outcome)
                if is_timed:
                    self._seconds[style].append(outcome.seconds)
        steps.advance()

    def comparison(self, skipped: Iterable[str]) -> FrameComparison:
        """Return what the answers come to."""
        styles = list(dict.fromkeys(style for _, style in self._questions())) or self._styles[:1]
        is_measured = all(len(self._seconds[style]) >= _LEAST_MEASURED for style in styles)
        reference, *others = [
            self._figures(style, styles[0], is_measured=is_measured) for style in styles
        ]
        return FrameComparison(
            self._client.name,
            frames=len(self._frames),
            videos=len({frame.video.cache_key for frame in self._frames}),
            skipped=tuple(skipped),
            failures=tuple(self._failures),
            is_measured=is_measured,
            reference=reference,
            others=tuple(others),
        )

    def _figures(
        self, style: QuestionStyle, reference: QuestionStyle, *, is_measured: bool
    ) -> StyleFigures:
        pairs = [
            (self._seen[number, style], self._seen[number, self._reference(number)])
            for number in self._numbers(style)
            # In a small video the reference is the same question as its small pictures' verdicts.
            if style == reference or style != self._reference(number)
        ]
        pairs = [pair for pair in pairs if all(pair)]
        outcomes = self._outcomes[style]
        return StyleFigures(
            style,
            small=is_small(style, self._client.model),
            frames=len(pairs),
            questions=len(outcomes),
            seconds=median(self._seconds[style]) if is_measured else self._estimated_s(style),
            prompt_tokens=fmean(one.prompt_tokens for one in outcomes) if outcomes else 0.0,
            answer_tokens=fmean(one.answer_tokens for one in outcomes) if outcomes else 0.0,
            tags=counts_by_tag(pairs),
        )

    def _estimated_s(self, style: QuestionStyle) -> float:
        """Return what a question in this style costs by what the endpoints cost in general."""
        numbers = self._numbers(style)
        if not numbers:
            return 0.0
        pixels = sent_pixels(self._frames[numbers[0]].video.info, style.shape)
        terms = QuestionTerms(style, self._client.question_cost(pixels))
        costs, _ = Costs(terms).of(self._client.model.tag_list)
        return costs.usual_s

    def _questions(self) -> Iterator[_Question]:
        for style in self._styles:
            for number in self._numbers(style):
                yield number, style

    def _numbers(self, style: QuestionStyle) -> list[int]:
        """Return the frames that can be asked about in this style."""
        model = self._client.model
        return [
            number
            for number, frame in enumerate(self._frames)
            if style_in(frame.video.info, style, model) == style
        ]

    def _reference(self, number: int) -> QuestionStyle:
        return style_in(self._frames[number].video.info, self._styles[0], self._client.model)

    def _goes_first(self, number: int, style: QuestionStyle) -> bool:
        """Return whether this is the first question about the picture, and it is this form's
        turn.
        """
        forms = list(dict.fromkeys(one.form for one in self._styles))
        is_known = any(self._seen[number, replace(style, form=form)] for form in forms)
        return forms[number % len(forms)] == style.form and not is_known

    def _tags_left(self, question: _Question) -> tuple[str, ...]:
        seen = self._seen[question]
        return tuple(tag for tag in self._client.model.tag_list if tag not in seen)

    def _query(self, number: int, tags: tuple[str, ...]) -> FrameQuery:
        return FrameQuery(self._frames[number].time_s, tags, Purpose.SCAN)

    def _note_seen(self, question: _Question, verdicts: Mapping[str, Verdict]) -> None:
        self._seen[question] |= {tag: verdict.present for tag, verdict in verdicts.items()}
