"""Puts one question at a time to the client, and keeps every answer before anybody uses it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

from vlm_engine.clients.base import Client
from vlm_engine.config.models import ModelConfig
from vlm_engine.errors import ClientError, ReplyError, RequestError, ServerError
from vlm_engine.prompt import FORMS, kept_name, shape_for, wording_fingerprint
from vlm_engine.store import AnswerStore, StoredAnswer, StoredSearch, Subject
from vlm_engine.tasks import Batcher, ResizableSemaphore, in_thread
from vlm_engine.types import (
    Answer,
    Frame,
    FrameQuery,
    ImageShape,
    Observation,
    Purpose,
    Question,
    Verdict,
)

_log = logging.getLogger(__name__)
_VIDEOS_AHEAD = 2
_GIVES_UP_AFTER = 3
_OF_THE_FRAME = (RequestError, ReplyError, ServerError)
"""What concerns the frames that were shown, and not whoever was asked."""


@dataclass(frozen=True, slots=True)
class FrameOutcome:
    """What came of showing one frame: a verdict for every tag, or the error why it could not be judged.

    ``calls``: requests that were answered for it; those of a question about several frames are charged to the first of them.
    """

    verdicts: Mapping[str, Verdict]
    error: ClientError | None = None
    calls: int = 0


class CachedAnswers:
    """What the store knows about one video or picture: ``alone``, answers to questions about one frame, and ``together``."""

    def __init__(
        self,
        alone: Iterable[StoredAnswer],
        together: Iterable[StoredAnswer],
        tag_of: Callable[[str], str | None],
    ) -> None:
        """``tag_of``: the tag that answers are kept under a name about; None where it means something else now."""
        self._seen: dict[tuple[int, ImageShape, bool], tuple[float, dict[str, Verdict]]] = {}
        for answers, with_others in ((alone, False), (together, True)):
            for stored in answers:
                key = stored.look_ms, stored.shape, with_others
                _, verdicts = self._seen.setdefault(key, (stored.frame_s, {}))
                for name, verdict in stored.answer.verdicts.items():
                    if tag := tag_of(name):
                        verdicts[tag] = verdict

    def recall(
        self, look: FrameQuery, kinds: Sequence[tuple[ImageShape, bool]]
    ) -> Observation | None:
        """What was seen at the look's time; None where nothing was. ``kinds``: the pictures that count, those that count most
        first, by their shape and whether they may have been shown with others."""
        time_s, known = look.time_s, dict[str, Verdict]()
        for shape, with_others in reversed(kinds):
            frame_s, verdicts = self._seen.get(
                (round(look.time_s * 1000), shape, with_others), (look.time_s, {})
            )
            own = {tag: verdicts[tag] for tag in look.tags if tag in verdicts}
            if own:
                time_s, known = frame_s, known | own
        return Observation(time_s, known) if known else None


class CachedClient:
    """Asks one model. Shared by all videos and pictures of an engine. ``name``: what the settings call it.

    ``room`` bounds the questions held at once: waiting with their pictures, or on their way; ``videos`` the videos that are
    open at once: enough to keep every slot busy, however many wait; ``instances`` both, where the settings say so.
    """

    def __init__(
        self, client: Client, store: AnswerStore, model: ModelConfig, name: str = ""
    ) -> None:
        self.model = model
        self.name = name
        self.room = ResizableSemaphore(lambda: client.slots + model.max_batch_size)
        self.videos = ResizableSemaphore(lambda: client.slots + _VIDEOS_AHEAD)
        self.instances = ResizableSemaphore(lambda: model.instance_count or 1_000_000)
        self._client = client
        self._store = store
        self._additions = Batcher(in_thread(self._add))
        self._memories = Batcher(in_thread(self._recollected))
        self._shapes = {purpose: shape_for(model, purpose) for purpose in Purpose}
        self._wording = wording_fingerprint(model)
        self._wording_together = wording_fingerprint(model, several=True)
        self._failed_together = 0
        self._names = {tag: kept_name(model, tag) for tag in model.tag_descriptions}

    def shape(self, purpose: Purpose) -> ImageShape:
        """How large a picture a look for this purpose takes."""
        return self._shapes[purpose]

    async def memory(self, media: str) -> CachedAnswers:
        """What is known already about this video or picture."""
        return await self._memories.add(
            (await self._subject(media), await self._subject(media, together=True))
        )

    def _recollected(self, subjects: Sequence[tuple[Subject, Subject]]) -> Sequence[CachedAnswers]:
        alone, together = ([pair[number] for pair in subjects] for number in (0, 1))
        several = (
            self._store.answers_to(together)
            if self.model.frames_per_question > 1
            else [[]] * len(subjects)
        )
        tag_of = cache(self._tag)
        return [
            CachedAnswers(*own, tag_of)
            for own in zip(self._store.answers_to(alone), several, strict=True)
        ]

    async def searches(self, media: str, settings: str) -> list[tuple[tuple[str, ...], bool]]:
        """The tags of each finished search of this video, and whether it was made with these ``settings`` and meanings."""
        found = await asyncio.to_thread(self._store.searches, await self._subject(media))
        return [
            (
                tuple(filter(None, map(self._tag, search.tags))),
                search.settings == settings and all(map(self._tag, search.tags)),
            )
            for search in found
        ]

    async def note_searches(
        self, media: str, groups: Iterable[tuple[str, ...]], settings: str
    ) -> None:
        """These groups of tags were searched to the end with these ``settings``, each by itself."""
        subject = await self._subject(media)
        for tags in groups:
            kept = tuple(self._names.get(tag, tag) for tag in tags)
            await asyncio.to_thread(self._store.add_search, subject, StoredSearch(kept, settings))

    def recall(self, memory: CachedAnswers, look: FrameQuery) -> Observation | None:
        """What ``memory`` holds of the look. A scan takes what a larger picture showed, or one by itself, but not the other way
        round."""
        kinds = [
            (shape, False)
            for shape in dict.fromkeys((self.shape(Purpose.STILL), self.shape(look.purpose)))
        ]
        if look.purpose is Purpose.SCAN and self.model.frames_per_question > 1:
            kinds.append((self.shape(Purpose.SCAN), True))
        return memory.recall(look, kinds)

    def together(self, purpose: Purpose) -> int:
        """About how many frames at once to ask for this purpose."""
        several = purpose is Purpose.SCAN and self._failed_together < _GIVES_UP_AFTER
        return self.model.frames_per_question if several else 1

    async def ask(self, media: str, look: FrameQuery, frame: Frame) -> Mapping[str, Verdict]:
        """One verdict for every tag of the look, in the store before it is returned. Raises what ``Client.ask`` raises."""
        question = Question(look.tags, FORMS[look.purpose], frame.jpeg, time_s=_time_s(look, frame))
        answer = await self._client.ask(question, partial(self._keep, media, [(look, frame)]))
        self.videos.admit()  # an answer may have brought news of more slots
        return answer.verdicts

    async def ask_about(
        self, media: str, shown: Sequence[tuple[FrameQuery, Frame]]
    ) -> list[FrameOutcome]:
        """What is said of each frame, in the store before it is returned. The looks are for one purpose and about the same tags.

        Several are asked about in one question; where that comes to nothing, one by one. Raises what ``Client.ask`` raises, but
        for errors that are about these frames.
        """
        if len(shown) > 1 and self.together(shown[0][0].purpose) > 1:
            told = await self._ask_together(media, shown)
            if told:
                return told
        return [await self._ask_alone(media, look, frame) for look, frame in shown]

    async def _ask_alone(self, media: str, look: FrameQuery, frame: Frame) -> FrameOutcome:
        try:
            return FrameOutcome(await self.ask(media, look, frame), calls=1)
        except _OF_THE_FRAME as error:
            return FrameOutcome(
                {}, error, calls=int(isinstance(error, ReplyError))
            )  # which was answered, if with nothing of use

    async def _ask_together(
        self, media: str, shown: Sequence[tuple[FrameQuery, Frame]]
    ) -> list[FrameOutcome]:
        """Empty where the question came to nothing."""
        (look, first), *others = shown
        more = tuple(frame for _, frame in others)
        question = Question(
            look.tags, FORMS[look.purpose], first.jpeg, time_s=first.time_s, more=more
        )
        try:
            answer = await self._client.ask(question, partial(self._keep, media, shown))
        except _OF_THE_FRAME as error:
            self._note_failure(error)
            return []
        self._failed_together = 0
        self.videos.admit()
        missing = ReplyError(
            f"the reply tells nothing of it, one of {len(shown)} frames in a question",
            endpoint=answer.endpoint,
        )
        told = [
            FrameOutcome(verdicts, None if verdicts else missing) for verdicts in answer.by_picture
        ]
        return [replace(told[0], calls=answer.calls), *told[1:]]

    def _note_failure(self, error: ClientError) -> None:
        self._failed_together += 1
        if self._failed_together == _GIVES_UP_AFTER:
            _log.warning(
                "%s: asking about %d frames at once came to nothing %d times in a row, so it is asked about one at a time: %s",
                self.name or self.model.model_id or "the model",
                self.model.frames_per_question,
                _GIVES_UP_AFTER,
                error,
            )

    async def _keep(
        self, media: str, shown: Sequence[tuple[FrameQuery, Frame]], answer: Answer
    ) -> None:
        """Stores what was said of each frame. What the answer cost is kept with the first."""
        subject = await self._subject(media, together=answer.together)
        if answer.by_another_model:
            subject = replace(subject, model=answer.model)
        rows: list[StoredAnswer] = []
        for (look, frame), verdicts in zip(shown, answer.by_picture, strict=True):
            if verdicts:
                said = {self._names.get(tag, tag): verdict for tag, verdict in verdicts.items()}
                sent, came = (0, 0) if rows else (answer.prompt_tokens, answer.answer_tokens)
                own = replace(
                    answer, verdicts=said, more=(), prompt_tokens=sent, answer_tokens=came
                )
                rows.append(
                    StoredAnswer(
                        round(look.time_s * 1000),
                        frame.time_s,
                        FORMS[look.purpose],
                        self.shape(look.purpose),
                        own,
                    )
                )
        await self._additions.add((subject, rows))

    def _add(self, additions: Sequence[tuple[Subject, Sequence[StoredAnswer]]]) -> Sequence[None]:
        self._store.add_all([(subject, stored) for subject, rows in additions for stored in rows])
        return [None] * len(additions)

    async def fingerprint(self) -> str:
        """A name for the model and the words in which it is asked. Raises ``NoEndpointError``."""
        at_once = self.model.frames_per_question
        return f"{await self._client.model_name()} {self._wording}" + (
            f" {at_once} at once" if at_once > 1 else ""
        )

    def _tag(self, kept: str) -> str | None:
        """The tag that answers are kept under this name about; None where it means something else now."""
        tag = kept.partition("\n")[0]
        return tag if self._names.get(tag, tag) == kept else None

    async def _subject(self, media: str, *, together: bool = False) -> Subject:
        return Subject(
            media,
            await self._client.model_name(),
            self._wording_together if together else self._wording,
        )


def _time_s(look: FrameQuery, frame: Frame) -> float | None:
    return None if look.purpose is Purpose.STILL else frame.time_s
