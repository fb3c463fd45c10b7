"""One model, or a small one that scans before a large one judges: every answer is stored before it
is used.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from vlm_engine.clients.base import Client
from vlm_engine.config.models import ModelConfig, SearchConfig
from vlm_engine.errors import ClientError, ReplyError, RequestError, ServerError
from vlm_engine.prompt import kept_name, wording_fingerprint
from vlm_engine.store import (
    PairCounts,
    PairKey,
    Store,
    StoredAnswer,
    StoredSearch,
    Subject,
    TagPairs,
)
from vlm_engine.tagging.styles import still_style
from vlm_engine.tasks import Batcher, ResizableSemaphore, in_thread
from vlm_engine.types import (
    Answer,
    Form,
    Frame,
    FrameQuery,
    ModelIdentity,
    Observation,
    Purpose,
    Question,
    QuestionCost,
    QuestionStyle,
    StyleComparison,
    Verdict,
)

Tags = tuple[str, ...]
_log = logging.getLogger(__name__)
_VIDEOS_AHEAD = 2
_USUAL, _OTHER = "usual", "other"
_GIVE_UP_AFTER = 3
_FRAME_ERRORS = (RequestError, ReplyError, ServerError)
"""Errors that concern the frames of a question, and not the endpoints."""


@dataclass(frozen=True, slots=True)
class FrameOutcome:
    """A verdict for every tag of one frame, or the error why it could not be judged.

    ``calls``: requests that were answered for it, and ``seconds``, the time of the endpoint that
    they took; those of a question about several frames are charged to the first frame. The tokens
    are those of a question about the frame alone.
    """

    verdicts: Mapping[str, Verdict]
    error: ClientError | None = None
    calls: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    answer_tokens: int = 0

    @classmethod
    def of(cls, answer: Answer) -> FrameOutcome:
        """Return the outcome of one question about the frame alone."""
        return cls(
            answer.verdicts,
            calls=1,
            seconds=answer.seconds,
            prompt_tokens=answer.prompt_tokens,
            answer_tokens=answer.answer_tokens,
        )

    @classmethod
    def failed(cls, error: ClientError) -> FrameOutcome:
        """Return the outcome of a question that failed. An unusable reply was paid for, too."""
        if isinstance(error, ReplyError):
            return cls({}, error, calls=1, seconds=error.seconds)
        return cls({}, error)


class CachedAnswers:
    """Stored answers of one model about one video or picture.

    ``alone`` are answers about one frame, ``together`` those about several in one request.
    ``tag_of`` returns the tag of a stored name; None if that name means something else now.
    """

    def __init__(
        self,
        alone: Iterable[StoredAnswer],
        together: Iterable[StoredAnswer],
        tag_of: Callable[[str], str | None],
    ) -> None:
        self._known: dict[tuple[int, QuestionStyle, bool], tuple[float, dict[str, Verdict]]] = {}
        for answers, with_others in ((alone, False), (together, True)):
            for stored in answers:
                key = stored.look_ms, QuestionStyle(stored.form, stored.shape), with_others
                _, verdicts = self._known.setdefault(key, (stored.frame_s, {}))
                for name, verdict in stored.answer.verdicts.items():
                    if tag := tag_of(name):
                        verdicts[tag] = verdict

    def find(
        self, query: FrameQuery, style: QuestionStyle, *, together: bool = False
    ) -> Observation | None:
        """Return what was answered in this style for the query's time and tags; None if nothing.

        No other style counts: what is known of a frame must not depend on what else was asked
        about it. ``together``: a list about several frames counts, and before one about this frame
        alone, which may come later.
        """
        kinds = [(style, False)]
        if together:
            kinds.append((replace(style, form=Form.LIST), True))
        time_s, known = query.time_s, dict[str, Verdict]()
        for kind, with_others in kinds:
            frame_s, verdicts = self._known.get(
                (round(query.time_s * 1000), kind, with_others), (query.time_s, {})
            )
            found = {tag: verdicts[tag] for tag in query.tags if tag in verdicts}
            if found:
                time_s, known = frame_s, known | found
        return Observation(time_s, known) if known else None


class CachedClient:
    """One model whose answers are stored. All videos and pictures of an engine share it.

    ``open_questions`` limits the questions whose pictures are in memory, ``open_videos`` the videos
    that are searched at once: enough to keep every slot busy. ``instances`` limits videos and
    pictures where the settings say so. ``name`` is the model's name in the settings.
    ``comparisons``: what is known of its styles, as of the last video.
    """

    def __init__(self, client: Client, store: Store, model: ModelConfig, name: str = "") -> None:
        self.model = model
        self.name = name
        self.comparisons: tuple[StyleComparison, ...] = ()
        self.open_questions = ResizableSemaphore(lambda: client.slots + model.max_batch_size)
        self.open_videos = ResizableSemaphore(lambda: client.slots + _VIDEOS_AHEAD)
        self.instances = ResizableSemaphore(lambda: model.instance_count or 1_000_000)
        self._client = client
        self._store = store
        self._writes = Batcher(in_thread(self._write))
        self._reads = Batcher(in_thread(self._read))
        self._wording = wording_fingerprint(model)
        self._wording_together = wording_fingerprint(model, several=True)
        self._failed_in_a_row = 0
        self._names = {tag: kept_name(model, tag) for tag in model.tag_descriptions}

    @property
    def still_style(self) -> QuestionStyle:
        """The style of questions about pictures that are not frames of a video."""
        return still_style(self.model)

    def frames_per_question(self, purpose: Purpose) -> int:
        """Return how many frames to ask about in one question."""
        several = purpose is Purpose.SCAN and self._failed_in_a_row < _GIVE_UP_AFTER
        return self.model.frames_per_question if several else 1

    async def fingerprint(self) -> str:
        """Return a name for the model and its wording. Raises ``NoEndpointError``."""
        frames = self.model.frames_per_question
        suffix = f" {frames} at once" if frames > 1 else ""
        return f"{await self._client.model_name()} {self._wording}{suffix}"

    async def identity(self) -> ModelIdentity:
        """Return the model and its wording. Raises ``NoEndpointError``."""
        return ModelIdentity(await self._client.model_name(), self._wording)

    async def load_answers(self, cache_key: str) -> CachedAnswers:
        """Return what the store holds about a video or picture."""
        return await self._reads.add(
            (await self._subject(cache_key), await self._subject(cache_key, together=True))
        )

    def find_answer(
        self, answers: CachedAnswers, query: FrameQuery, style: QuestionStyle
    ) -> Observation | None:
        """Return what ``answers`` hold for the query in this style."""
        several = query.purpose is Purpose.SCAN and self.model.frames_per_question > 1
        return answers.find(query, style, together=several)

    async def finished_searches(self, cache_key: str) -> list[tuple[Tags, str, bool]]:
        """Return the tags of each stored search, its settings, and whether the tags still have the
        same meaning.
        """
        found = await asyncio.to_thread(self._store.searches, await self._subject(cache_key))
        return [
            (
                tuple(filter(None, map(self._tag_of, search.tags))),
                search.settings,
                all(map(self._tag_of, search.tags)),
            )
            for search in found
        ]

    async def record_searches(self, cache_key: str, groups: Iterable[Tags], settings: str) -> None:
        """Store that each of these groups of tags was searched to the end with these settings."""
        subject = await self._subject(cache_key)
        for tags in groups:
            search = StoredSearch(self.kept_names(tags), settings)
            await asyncio.to_thread(self._store.add_search, subject, search)

    def kept_names(self, tags: Iterable[str]) -> Tags:
        """Return the names under which answers about ``tags`` are stored, by their meaning."""
        return tuple(self._names.get(tag, tag) for tag in tags)

    def question_cost(self, pixels: int) -> QuestionCost:
        """Return the cost of a question with a picture of so many pixels, as far as known."""
        return self._client.question_cost(pixels)

    async def stored_terms(self, cache_key: str, settings: str) -> list[str]:
        """Return the terms on which a video was searched with these settings, oldest first."""
        subject = await self._subject(cache_key)
        return await asyncio.to_thread(self._store.terms, subject, settings)

    async def store_terms(self, cache_key: str, settings: str, terms: str) -> None:
        """Store the terms on which the search of a video begins."""
        subject = await self._subject(cache_key)
        await asyncio.to_thread(self._store.add_terms, subject, settings, terms)

    async def tag_pairs(self, compared: str) -> dict[str, TagPairs]:
        """Return what was counted of each tag of the model in two styles."""
        model = await self._client.model_name()
        counts = await asyncio.to_thread(self._store.pairs, model, self._wording)
        tags, none = self.model.tag_list, PairCounts()
        return {
            tag: TagPairs(
                counts.get(PairKey(compared, name, True), none),
                counts.get(PairKey(compared, name, False), none),
            )
            for tag, name in zip(tags, self.kept_names(tags), strict=True)
        }

    async def uses_other_style(self, compared: str) -> bool:
        """Return whether the other of two styles is in use for the model's tags."""
        key = await self._list_key(compared)
        return await asyncio.to_thread(self._store.style, *key) == _OTHER

    async def use_other_style(self, compared: str, *, other: bool) -> bool:
        """Set whether the other style is in use. Return whether that is new."""
        key = await self._list_key(compared)
        style = _OTHER if other else _USUAL
        return await asyncio.to_thread(self._store.set_style, *key, style)

    async def _list_key(self, compared: str) -> tuple[str, str, str]:
        """Return the model, its wording, and a name for its list of tags and for the styles."""
        names = sorted(self.kept_names(self.model.tag_list))
        digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
        return await self._client.model_name(), self._wording, f"{digest} {compared}"

    async def ask_still(self, cache_key: str, query: FrameQuery, frame: Frame) -> Answer:
        """Return the answer about a still, stored. Raises as ``Client.ask``."""
        style = self.still_style
        keep = partial(self._keep, cache_key, [(query, frame)], style)
        return await self._client.ask(_question(query, frame, style.form), keep)

    async def ask_frames(
        self, cache_key: str, frames: Sequence[tuple[FrameQuery, Frame]], style: QuestionStyle
    ) -> list[FrameOutcome]:
        """Return the outcome of each frame, stored. The queries share their purpose and tags.

        Several frames are asked about in one question, for lists; if that fails, one by one. Raises
        as ``Client.ask``, except for errors that concern these frames.
        """
        if len(frames) > 1 and self.frames_per_question(frames[0][0].purpose) > 1:
            outcomes = await self._ask_together(cache_key, frames, style)
            if outcomes:
                return outcomes
        outcomes = []
        for query, frame in frames:
            keep = partial(self._keep, cache_key, [(query, frame)], style)
            try:
                answer = await self._client.ask(_question(query, frame, style.form), keep)
                outcomes.append(FrameOutcome.of(answer))
            except _FRAME_ERRORS as error:
                outcomes.append(FrameOutcome.failed(error))
        return outcomes

    async def ask_compared(
        self,
        cache_key: str,
        query: FrameQuery,
        frame: Frame,
        style: QuestionStyle,
        pairs: Callable[[Mapping[str, Verdict]], Mapping[PairKey, PairCounts]],
    ) -> FrameOutcome:
        """Return the outcome in another style than the video's, stored with the pairs that it makes
        with what is known of the frame. Raises as ``ask_frames``.
        """

        async def keep(answer: Answer) -> None:
            stored = self._stored(query, frame, style, answer)
            subject = await self._subject(cache_key)
            if answer.by_another_model:
                await self._writes.add((replace(subject, model=answer.model), [stored]))
                return
            named = {
                replace(key, tag=self._names.get(key.tag, key.tag)): counts
                for key, counts in pairs(answer.verdicts).items()
            }
            await asyncio.to_thread(self._store.add_compared, subject, stored, named)

        try:
            return FrameOutcome.of(
                await self._client.ask(_question(query, frame, style.form), keep)
            )
        except _FRAME_ERRORS as error:
            return FrameOutcome.failed(error)

    async def _ask_together(
        self, cache_key: str, frames: Sequence[tuple[FrameQuery, Frame]], style: QuestionStyle
    ) -> list[FrameOutcome]:
        """Return nothing if the question failed."""
        (query, first), *others = frames
        lists = replace(style, form=Form.LIST)
        question = replace(
            _question(query, first, lists.form), more=tuple(frame for _, frame in others)
        )
        try:
            answer = await self._client.ask(question, partial(self._keep, cache_key, frames, lists))
        except _FRAME_ERRORS as error:
            self._note_failure(error)
            return []
        self._failed_in_a_row = 0
        missing = ReplyError(
            f"the reply tells nothing of it, one of {len(frames)} frames in a question",
            endpoint=answer.endpoint,
        )
        outcomes = [
            FrameOutcome(verdicts, None if verdicts else missing) for verdicts in answer.by_picture
        ]
        first_outcome = replace(outcomes[0], calls=answer.calls, seconds=answer.seconds)
        return [first_outcome, *outcomes[1:]]

    def _note_failure(self, error: ClientError) -> None:
        self._failed_in_a_row += 1
        if self._failed_in_a_row == _GIVE_UP_AFTER:
            _log.warning(
                "%s: asking about %d frames at once came to nothing %d times in a row, "
                "so it is asked about one at a time: %s",
                self.name or self.model.model_id or "the model",
                self.model.frames_per_question,
                _GIVE_UP_AFTER,
                error,
            )

    async def _keep(
        self,
        cache_key: str,
        frames: Sequence[tuple[FrameQuery, Frame]],
        style: QuestionStyle,
        answer: Answer,
    ) -> None:
        """Store the verdicts about each frame. The answer's tokens are stored with the first."""
        subject = await self._subject(cache_key, together=answer.together)
        if answer.by_another_model:
            subject = replace(subject, model=answer.model)
        rows: list[StoredAnswer] = []
        for (query, frame), verdicts in zip(frames, answer.by_picture, strict=True):
            if verdicts:
                tokens = (0, 0) if rows else (answer.prompt_tokens, answer.answer_tokens)
                about_frame = replace(
                    answer,
                    verdicts=verdicts,
                    more=(),
                    prompt_tokens=tokens[0],
                    answer_tokens=tokens[1],
                )
                rows.append(self._stored(query, frame, style, about_frame))
        await self._writes.add((subject, rows))
        self.open_videos.admit()  # the answer may have shown that there are more slots

    def _stored(
        self, query: FrameQuery, frame: Frame, style: QuestionStyle, answer: Answer
    ) -> StoredAnswer:
        named = {self._names.get(tag, tag): verdict for tag, verdict in answer.verdicts.items()}
        return StoredAnswer(
            round(query.time_s * 1000),
            frame.time_s,
            style.form,
            style.shape,
            replace(answer, verdicts=named),
        )

    def _write(self, batch: Sequence[tuple[Subject, Sequence[StoredAnswer]]]) -> Sequence[None]:
        self._store.add_all([(subject, row) for subject, rows in batch for row in rows])
        return [None] * len(batch)

    def _read(self, batch: Sequence[tuple[Subject, Subject]]) -> Sequence[CachedAnswers]:
        alone = self._store.answers_to([subject for subject, _ in batch])
        together: Sequence[Sequence[StoredAnswer]] = [()] * len(batch)
        if self.model.frames_per_question > 1:
            together = self._store.answers_to([subject for _, subject in batch])
        tag_of = cache(self._tag_of)
        return [CachedAnswers(*both, tag_of) for both in zip(alone, together, strict=True)]

    def _tag_of(self, name: str) -> str | None:
        """Return the tag of a stored name; None if the tag has another meaning now."""
        tag = name.partition("\n")[0]
        return tag if self._names.get(tag, tag) == name else None

    async def _subject(self, cache_key: str, *, together: bool = False) -> Subject:
        model = await self._client.model_name()
        return Subject(cache_key, model, self._wording_together if together else self._wording)


def _question(query: FrameQuery, frame: Frame, form: Form) -> Question:
    time_s = None if query.purpose is Purpose.STILL else frame.time_s
    pixels = frame.width * frame.height
    return Question(query.tags, form, frame.jpeg, time_s=time_s, pixels=pixels)


Styles = Mapping[CachedClient, QuestionStyle]
"""The style in which each model is asked in one video."""


@dataclass(frozen=True, slots=True)
class CascadeAnswers:
    """Stored answers about one video, of the judge and of the scanner."""

    judge: CachedAnswers
    scanner: CachedAnswers | None


@dataclass(frozen=True, slots=True)
class Cascade:
    """The judge of one category of tags, and perhaps a smaller model that scans for it."""

    judge: CachedClient
    scanner: CachedClient | None = None

    @property
    def category(self) -> str:
        """The category of the tags."""
        return self.judge.model.category

    @property
    def members(self) -> tuple[CachedClient, ...]:
        """The judge, and the scanner if there is one."""
        return (self.judge,) if self.scanner is None else (self.judge, self.scanner)

    def tags(self, skipped_categories: Iterable[str]) -> Tags:
        """Return the tags to ask about."""
        return () if self.category in skipped_categories else self.judge.model.tag_list

    def client_for(self, query: FrameQuery) -> CachedClient:
        """Return the model that answers the query."""
        scans = self.scanner is not None and query.purpose is Purpose.SCAN
        return self.scanner if scans and self.scanner else self.judge

    async def load_answers(self, cache_key: str) -> CascadeAnswers:
        """Return what the store holds about a video."""
        scanned = await self.scanner.load_answers(cache_key) if self.scanner else None
        return CascadeAnswers(await self.judge.load_answers(cache_key), scanned)

    def find_answers(
        self, answers: CascadeAnswers, query: FrameQuery, styles: Styles
    ) -> Iterator[Observation]:
        """Yield what is known for the query: for a scan from the scanner, then from the judge the
        tags that are left. A search that is repeated must see them in that order.
        """
        left = query
        if self.scanner and answers.scanner and query.purpose is Purpose.SCAN:
            scanned = self.scanner.find_answer(answers.scanner, query, styles[self.scanner])
            if scanned is not None:
                yield replace(scanned, scanned=True)
                tags = tuple(tag for tag in query.tags if tag not in scanned.verdicts)
                left = replace(query, tags=tags)
        judged = self.judge.find_answer(answers.judge, left, styles[self.judge])
        if judged is not None:
            yield judged

    async def search_fingerprint(self, config: SearchConfig) -> str:
        """Return a name for all that shapes a search; one with another name is searched again.

        Raises ``NoEndpointError``.
        """
        suffix = f" scanned by {await self.scanner.fingerprint()}" if self.scanner else ""
        return f"{config.model_dump_json()}{suffix}"
