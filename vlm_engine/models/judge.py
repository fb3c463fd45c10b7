"""Puts one question at a time to the client, and keeps every answer before anybody uses it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from vlm_engine.clients.base import Client
from vlm_engine.config_models import ModelConfig
from vlm_engine.prompt import FORMS, kept_name, shape_for, wording_fingerprint
from vlm_engine.store import AnswerStore, StoredAnswer, StoredSearch, Subject
from vlm_engine.types import Answer, Frame, ImageShape, Look, Observation, Purpose, Question, Verdict

_VIDEOS_AHEAD = 2


class Memory:
    """What the store knows about one video or picture."""

    def __init__(self, answers: list[StoredAnswer]) -> None:
        self._seen: dict[tuple[int, ImageShape], tuple[float, dict[str, Verdict]]] = {}
        for stored in answers:
            _, verdicts = self._seen.setdefault((stored.look_ms, stored.shape), (stored.frame_s, {}))
            verdicts.update(stored.answer.verdicts)

    def recall(self, look: Look, shapes: tuple[ImageShape, ...]) -> Observation | None:
        """What was seen at the look's time, in pictures of one of ``shapes``; the first counts most. None where nothing was."""
        time_s, known = look.time_s, dict[str, Verdict]()
        for shape in reversed(shapes):
            frame_s, verdicts = self._seen.get((round(look.time_s * 1000), shape), (look.time_s, {}))
            own = {tag: verdicts[tag] for tag in look.tags if tag in verdicts}
            if own:
                time_s, known = frame_s, known | own
        return Observation(time_s, known) if known else None


class Room:
    """Bounds how many there are of something. ``size`` is asked each time: endpoints come, go and grow.

    First come, first served: whoever comes while others wait waits behind them.
    """

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self._held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()

    async def acquire(self) -> None:
        """Waits until there is room for one more, and takes it."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self.look_again()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it was given just now
            raise

    def release(self) -> None:
        """Gives back the room of one."""
        self._held -= 1
        self.look_again()

    def look_again(self) -> None:
        """There may be more room than before."""
        while self._waiting and self._held < self._size():
            turn = self._waiting.popleft()
            if not turn.done():
                self._held += 1
                turn.set_result(None)


class Judge:
    """Asks one model. Shared by all videos and pictures of an engine. ``name``: what the settings call it.

    ``room`` bounds the pictures held at once: decoded and waiting, or on their way; ``videos`` the videos that are open at
    once: enough to keep every slot busy, however many wait; ``instances`` both, where the settings say so.
    """

    def __init__(self, client: Client, store: AnswerStore, model: ModelConfig, name: str = "") -> None:
        self.model = model
        self.name = name
        self.room = Room(lambda: client.slots + model.max_batch_size)
        self.videos = Room(lambda: client.slots + _VIDEOS_AHEAD)
        self.instances = Room(lambda: model.instance_count or 1_000_000)
        self._client = client
        self._store = store
        self._wording = wording_fingerprint(model)
        self._names = {tag: kept_name(model, tag) for tag in model.tag_descriptions}

    def shape(self, purpose: Purpose) -> ImageShape:
        """How large a picture a look for this purpose takes."""
        return shape_for(self.model, purpose)

    async def memory(self, media: str) -> Memory:
        """What is known already about this video or picture."""
        return await asyncio.to_thread(self._memory, await self._subject(media))

    def _memory(self, subject: Subject) -> Memory:
        return Memory([replace(stored, answer=self._recalled(stored.answer)) for stored in self._store.answers(subject)])

    async def searches(self, media: str, settings: str) -> list[tuple[tuple[str, ...], bool]]:
        """The tags of each finished search of this video, and whether it was made with these ``settings`` and meanings."""
        found = await asyncio.to_thread(self._store.searches, await self._subject(media))
        return [
            (tuple(filter(None, map(self._tag, search.tags))), search.settings == settings and all(map(self._tag, search.tags)))
            for search in found
        ]

    async def note_searches(self, media: str, groups: Iterable[tuple[str, ...]], settings: str) -> None:
        """These groups of tags were searched to the end with these ``settings``, each by itself."""
        subject = await self._subject(media)
        for tags in groups:
            kept = tuple(self._names.get(tag, tag) for tag in tags)
            await asyncio.to_thread(self._store.add_search, subject, StoredSearch(kept, settings))

    def recall(self, memory: Memory, look: Look) -> Observation | None:
        """What ``memory`` holds of the look. A scan takes what a larger picture showed, but not the other way round."""
        return memory.recall(look, tuple(dict.fromkeys((self.shape(Purpose.STILL), self.shape(look.purpose)))))

    async def ask(self, media: str, look: Look, frame: Frame) -> Mapping[str, Verdict]:
        """One verdict for every tag of the look, in the store before it is returned. Raises what ``Client.ask`` raises."""
        form, subject = FORMS[look.purpose], await self._subject(media)

        async def keep(answer: Answer) -> None:
            verdicts = {self._names.get(tag, tag): verdict for tag, verdict in answer.verdicts.items()}
            kept = replace(answer, verdicts=verdicts)
            stored = StoredAnswer(round(look.time_s * 1000), frame.time_s, form, self.shape(look.purpose), kept)
            await asyncio.to_thread(self._store.add, subject, stored)

        answer = await self._client.ask(Question(look.tags, form, frame.jpeg, time_s=_time_s(look, frame)), keep)
        self.videos.look_again()  # an answer may have brought news of more slots
        return answer.verdicts

    async def fingerprint(self) -> str:
        """A name for the model and the words in which it is asked. Raises ``NoEndpointError``."""
        return f"{await self._client.model_name()} {self._wording}"

    def _recalled(self, kept: Answer) -> Answer:
        """An answer as it was given, but for tags that now mean something else."""
        known = {tag: verdict for name, verdict in kept.verdicts.items() if (tag := self._tag(name))}
        return replace(kept, verdicts=known)

    def _tag(self, kept: str) -> str | None:
        """The tag that answers are kept under this name about; None where it means something else now."""
        tag = kept.partition("\n")[0]
        return tag if self._names.get(tag, tag) == kept else None

    async def _subject(self, media: str) -> Subject:
        return Subject(media, await self._client.model_name(), self._wording)


def _time_s(look: Look, frame: Frame) -> float | None:
    return None if look.purpose is Purpose.STILL else frame.time_s
