"""The engine as the plugin uses it: settings go in once, then files of scenes and images go in
and what was found comes out.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Self, TypeAlias

from PIL import Image

from haven.settings.layers import on_the_page
from haven.settings.settings import Settings
from haven.setup.paths import how_far, map_path
from vlm_engine import (
    ArchiveError,
    EndpointStats,
    EngineConfig,
    ImageResult,
    InMemoryFile,
    MediaError,
    MediaNotFoundError,
    MediaOutOfReachError,
    MediaUnsupportedError,
    OnProgress,
    Readers,
    ResizableSemaphore,
    Source,
    VideoResult,
    VLMEngine,
    ZipEntry,
)

_log = logging.getLogger(__name__)
_SIZES_AT_ONCE = 8
_PATHS = on_the_page("PATH_MUTATION")

Fetch: TypeAlias = Callable[[], Awaitable[bytes]]
"""Gives a picture's content where its file cannot be read. Raises ``MediaError`` where it
cannot, either."""
Show: TypeAlias = Callable[[MediaUnsupportedError], Awaitable[bytes]]
"""Gives a thumbnail of a picture whose file is not read, for the reason that it is told. Raises
as ``Fetch``."""


def engine_config(settings: Settings, store_path: Path | None) -> EngineConfig:
    """Return the engine's configuration. ``store_path``: the file that keeps every answer; None:
    none does.
    """
    store = str(store_path) if store_path else None
    return settings.engine.model_copy(update={"store_path": store})


def names_in_stash(settings: Settings) -> dict[str, str]:
    """Return what each tag that is looked for is called in Stash, by its name in the tag list."""
    names: dict[str, str] = {}
    for model in settings.engine.active_models().values():
        rule_of = settings.engine.rule_of(model.category)
        names |= {tag: rule_of(tag).renamed or tag for tag in model.tag_list}
    return names


class Tagger:
    """Tags video and picture files, any number at once. Use it in ``async with``.

    Raises what the engine raises: ``NoEndpointError`` ends a batch, everything else concerns one
    file.
    """

    def __init__(self, settings: Settings, store_path: Path | None) -> None:
        self._settings = settings
        self._engine = VLMEngine(engine_config(settings, store_path))
        self._readers = Readers(_SIZES_AT_ONCE, settings.engine.video.stall_s)
        self._contents = ResizableSemaphore(lambda: self._engine.slots)
        self._told_of_unread = False

    async def __aenter__(self) -> Self:
        await self._engine.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._engine.aclose()
        await self._readers.aclose()

    @property
    def slots(self) -> int:
        """How many questions the endpoints take at once, as far as is known now."""
        return self._engine.slots

    async def tag_video(
        self,
        path: str,
        oshash: str,
        on_progress: OnProgress | None = None,
        *,
        size_bytes: int = 0,
        vr: bool = False,
        source: Source | None = None,
    ) -> VideoResult:
        """What the video shows. ``path`` is as Stash sees it; ``oshash`` is Stash's fingerprint
        of it, or "".

        ``size_bytes``: what Stash knows of it, 0 for nothing; a file of another size is another
        one, whatever the fingerprint.
        ``vr``: its frames hold more than is ahead; only that is looked at. ``source``: what to
        read where this machine does not get at the file.
        """
        here = map_path(path, self._settings.path_mutation)
        try:
            if size_bytes and await self._readers.call(
                here, partial(_is_another, here, size_bytes)
            ):
                oshash = ""
            return await self._tag_video(here, oshash, on_progress, vr=vr)
        except (MediaNotFoundError, MediaOutOfReachError) as error:
            told = str(error)
            if isinstance(error, MediaNotFoundError):
                told = await asyncio.to_thread(_not_found, path, here)
            if source is None:
                raise type(error)(told) from error
        _log.info("%s. Until then it is read through Stash.", told)
        return await self._tag_video(source, oshash, on_progress, vr=vr)

    async def _tag_video(
        self, video: str | Source, oshash: str, on_progress: OnProgress | None, *, vr: bool
    ) -> VideoResult:
        return await self._engine.tag_video(
            video,
            identity=f"oshash:{oshash}" if oshash else None,
            vr_video=vr,
            on_progress=on_progress,
        )

    async def tag_image(
        self,
        image: str | ZipEntry,
        fingerprint: str = "",
        fetch: Fetch | None = None,
        show: Show | None = None,
    ) -> ImageResult:
        """What the picture or clip shows. ``image`` is where Stash sees it; ``fingerprint``
        names what it holds, or is "".

        Where this machine does not get at its file, ``fetch`` is asked for its content, of a few
        at a time. Where it is of a kind that is not read, ``show`` is asked for a thumbnail.
        When that comes to nothing, too, the error says both.
        """
        try:
            return await self._tag_file(image, fingerprint, fetch)
        except MediaUnsupportedError as error:
            if show is None:
                raise
            told = error
        async with self._contents:
            try:
                content = await show(told)
                thumbnail = InMemoryFile(f"{image}, Stash's thumbnail", content)
                return await self._tag_image(
                    thumbnail, f"{fingerprint} thumbnail" if fingerprint else ""
                )
            except MediaError as error:
                _log.debug("%s", error)
                raise MediaUnsupportedError(
                    f"{told}. Nor does Stash show it", reason=told.reason
                ) from error

    async def _tag_file(
        self, image: str | ZipEntry, fingerprint: str, fetch: Fetch | None
    ) -> ImageResult:
        here = self._here(image)
        try:
            return await self._tag_image(here, fingerprint)
        except (MediaNotFoundError, MediaOutOfReachError, ArchiveError) as error:
            told = await asyncio.to_thread(_explained, image, here, error)
            if fetch is None:
                raise told from error
        self._tell_of_unread(told)
        async with self._contents:
            try:
                content = await fetch()
            except MediaError as error:
                raise type(told)(f"{told}. {error}") from error
            return await self._tag_image(InMemoryFile(f"{image}, from Stash", content), fingerprint)

    async def _tag_image(
        self, source: str | ZipEntry | InMemoryFile, fingerprint: str
    ) -> ImageResult:
        return await self._engine.tag_image(source, identity=fingerprint or None)

    def _here(self, image: str | ZipEntry) -> str | ZipEntry:
        if isinstance(image, ZipEntry):
            return replace(image, zip_path=map_path(image.zip_path, self._settings.path_mutation))
        return map_path(image, self._settings.path_mutation)

    def _tell_of_unread(self, told: MediaError) -> None:
        if not self._told_of_unread:
            self._told_of_unread = True
            _log.info(
                "%s. Until then Stash is asked for it, as for all others that cannot be read "
                "here. That is slower.",
                told,
            )

    def stats(self) -> Mapping[str, EndpointStats]:
        """What each endpoint did so far, by its name."""
        return self._engine.endpoint_stats()


def longest_side(content: bytes) -> float:
    """How many pixels a picture has along its longest side; infinitely many for what is none,
    which its reader says.
    """
    try:
        with Image.open(BytesIO(content)) as image:
            return max(image.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return math.inf


def _is_another(here: str, size_bytes: int) -> bool:
    try:
        found = Path(here).stat().st_size
    except OSError:
        return False  # whoever reads it says so
    if found != size_bytes:
        told = (
            "it was changed since Stash scanned it, so scan it again. What is found is found "
            "in the file as it is now"
        )
        _log.warning("%s has %d bytes, and Stash knows of %d: %s.", here, found, size_bytes, told)
    return found != size_bytes


def _explained(image: str | ZipEntry, here: str | ZipEntry, error: MediaError) -> MediaError:
    """``error``, with more to say of it where it is the whole file that is not there. Asks the
    disk.
    """
    if Path(_file_of(here)).exists():
        return type(error)(str(error))
    return MediaNotFoundError(_not_found(_file_of(image), _file_of(here)))


def _file_of(image: str | ZipEntry) -> str:
    return image.zip_path if isinstance(image, ZipEntry) else image


def _not_found(path: str, here: str) -> str:
    """Where it was looked for, how much of that is there, and what to change. Asks the disk."""
    found = how_far(here) or "it was not there a moment ago"
    if here == path:
        remedy = f"If this machine has it under another path than Stash, say so in {_PATHS}"
        return f"{path}: there is no such file here: {found}. {remedy}"
    return (
        f"{here}: there is no such file here: {found}. Stash calls it {path}; {_PATHS} made "
        "the other path of it, so check that"
    )
