"""Who is asked about the tags of one category: a judge, and perhaps a smaller model that scans videos for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from vlm_engine.config.models import SearchConfig
from vlm_engine.tagging.cached_client import CachedAnswers, CachedClient
from vlm_engine.types import FrameQuery, Observation, Purpose

Tags = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CascadeAnswers:
    """What is known already about one video, of the judge and of the one that scans."""

    judge: CachedAnswers
    scanner: CachedAnswers | None


@dataclass(frozen=True, slots=True)
class Cascade:
    """The judge and the scanner of one category; its tags are the judge's. Shared by all videos of an engine."""

    judge: CachedClient
    scanner: CachedClient | None = None

    @property
    def category(self) -> str:
        """The category whose tags they are asked about."""
        return self.judge.model.category

    @property
    def members(self) -> tuple[CachedClient, ...]:
        """The judge, and the scanner where there is one."""
        return (self.judge,) if self.scanner is None else (self.judge, self.scanner)

    def tags(self, skipped: Iterable[str]) -> Tags:
        """Those to ask about, where these categories are skipped."""
        return () if self.category in skipped else self.judge.model.tag_list

    def asked(self, look: FrameQuery) -> CachedClient:
        """Whom a look is for."""
        return (
            self.scanner
            if self.scanner is not None and look.purpose is Purpose.SCAN
            else self.judge
        )

    async def memories(self, media: str) -> CascadeAnswers:
        """What is known already about this video."""
        scanned = await self.scanner.memory(media) if self.scanner else None
        return CascadeAnswers(await self.judge.memory(media), scanned)

    def recall(self, memories: CascadeAnswers, look: FrameQuery) -> Iterator[Observation]:
        """What is known of a look, from whom it is for; of the tags that are left of a scan also what the judge saw.

        In this order: where both looked, a search that is repeated must see them one after the other, as it first did.
        """
        left = look
        if (
            memories.scanner is not None
            and self.scanner is not None
            and look.purpose is Purpose.SCAN
        ):
            scanned = self.scanner.recall(memories.scanner, look)
            if scanned is not None:
                yield replace(scanned, scanned=True)
                left = replace(
                    look, tags=tuple(tag for tag in look.tags if tag not in scanned.verdicts)
                )
        seen = self.judge.recall(memories.judge, left)
        if seen is not None:
            yield seen

    def scans(self, look: FrameQuery) -> bool:
        """Whether the scanner is asked, or would be."""
        return self.asked(look) is self.scanner

    async def settings(self, how: SearchConfig) -> str:
        """A name for all that shapes a search made as ``how`` says: what has another one is searched anew.

        Raises ``NoEndpointError``.
        """
        return how.model_dump_json() + (
            f" scanned by {await self.scanner.fingerprint()}" if self.scanner else ""
        )
