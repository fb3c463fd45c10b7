"""Puts one question at a time to the client, and keeps every answer before anybody uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from vlm_engine.clients.base import Client
from vlm_engine.config_models import ModelConfig
from vlm_engine.prompt import wording_fingerprint
from vlm_engine.store import AnswerStore, StoredAnswer, Subject
from vlm_engine.types import Form, Frame, ImageShape, Observation, Question, Verdict


class Memory:
    """What the store knows about one video or picture, for pictures of one shape."""

    def __init__(self, answers: list[StoredAnswer], shape: ImageShape) -> None:
        self._seen: dict[int, tuple[float, dict[str, Verdict]]] = {}
        for stored in answers:
            if stored.shape == shape:
                _, verdicts = self._seen.setdefault(stored.look_ms, (stored.frame_s, {}))
                verdicts.update(stored.answer.verdicts)

    def recall(self, time_s: float, tags: tuple[str, ...]) -> Observation | None:
        """What was seen at this time of those among ``tags`` that were ever asked for there; None where none was."""
        frame_s, verdicts = self._seen.get(round(time_s * 1000), (time_s, {}))
        known = {tag: verdicts[tag] for tag in tags if tag in verdicts}
        return Observation(frame_s, known) if known else None


class Judge:
    """Asks one model. Shared by all videos and pictures of an engine.

    ``room`` bounds the pictures held at once: decoded and waiting, or on their way.
    """

    def __init__(self, client: Client, store: AnswerStore, model: ModelConfig) -> None:
        self.model = model
        self.shape = ImageShape(model.image_max_side, model.image_quality)
        self.room = asyncio.Semaphore(client.slots + model.max_batch_size)
        self.instances = asyncio.Semaphore(model.instance_count or 1_000_000)
        self._client = client
        self._store = store
        self._wording = wording_fingerprint(model)

    async def memory(self, media: str) -> Memory:
        """What is known already about this video or picture."""
        answers = await asyncio.to_thread(self._store.answers, await self._subject(media))
        return Memory(answers, self.shape)

    async def ask(self, media: str, look_s: float, frame: Frame, tags: tuple[str, ...], form: Form) -> Mapping[str, Verdict]:
        """One verdict for every tag, in the store before it is returned. Raises what ``Client.ask`` raises."""
        answer = await self._client.ask(Question(tags, form, frame.jpeg))
        stored = StoredAnswer(round(look_s * 1000), frame.time_s, form, self.shape, answer)
        await asyncio.to_thread(self._store.add, await self._subject(media), stored)
        return answer.verdicts

    async def _subject(self, media: str) -> Subject:
        return Subject(media, await self._client.model_name(), self._wording)
