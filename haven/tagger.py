"""The engine as the plugin uses it: settings go in once, then files of scenes and images go in,
and results come out.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

from haven.settings.layers import on_the_page
from haven.settings.settings import Settings
from haven.setup.paths import how_far
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
    StyleComparison,
    VideoResult,
    ZipEntry,
    map_path,
)

if TYPE_CHECKING:
    from vlm_engine import FrameComparison

_log = logging.getLogger(__name__)
_SIZES_AT_ONCE = 8
_SENT_AT_ONCE = 64
_PATHS = on_the_page("PATH_MUTATION")

Fetch: TypeAlias = Callable[[], Awaitable[bytes]]
"""Returns the content of a picture whose file cannot be read here. Raises ``MediaError``."""
Show: TypeAlias = Callable[[MediaUnsupportedError], Awaitable[bytes]]
"""Returns a thumbnail of a picture that cannot be read at all, for the given reason. Raises
``MediaError``."""


def engine_config(settings: Settings, store_path: Path | None) -> EngineConfig:
    """Return the engine's configuration. ``store_path``: the file that keeps every answer, or
    None.
    """
    store = str(store_path) if store_path else None
    return settings.engine.model_copy(update={"store_path": store})


class Tagger:
    """Tagger of video and picture files, any number at once. Use it in ``async with``.

    It raises what the engine raises: ``NoEndpointError`` ends a batch, everything else concerns
    one file. Paths are mapped to those of this machine; those of a cluster's workers follow from
    them (``paths`` of the cluster).
    """

    def __init__(self, settings: Settings, store_path: Path | None) -> None:
        # Importing the engine takes longer than all that a task without work does.
        from vlm_engine import open_engine

        self._settings = settings
        self._engine = open_engine(engine_config(settings, store_path))
        self._looks_here = settings.engine.cluster is None
        self._readers = Readers(_SIZES_AT_ONCE, settings.engine.video.stall_s)
        self._contents = ResizableSemaphore(self._most_contents)
        self._logged_unreadable = False

    async def __aenter__(self) -> Self:
        await self._engine.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._engine.aclose()
        await self._readers.aclose()

    @property
    def slots(self) -> int:
        """The number of questions that the endpoints take at once, or of images that a cluster
        takes, as far as is known now.
        """
        return self._engine.slots

    @property
    def videos_at_once(self) -> int | None:
        """The number of videos that a cluster takes at once, as far as is known now; None without
        a cluster.
        """
        return self._engine.videos_at_once

    async def tag_video(
        self,
        path: str,
        oshash: str,
        on_progress: OnProgress | None = None,
        *,
        size_bytes: int = 0,
        vr: bool = False,
        least_effort: float = 0.0,
        source: Source | None = None,
    ) -> VideoResult:
        """Return what the video shows.

        ``path``: where Stash has it.
        ``oshash``: Stash's fingerprint of it, or "".
        ``size_bytes``: its size according to Stash, or 0. A file of another size is another file,
        whatever the fingerprint.
        ``vr``: its frames hold more than the view ahead; only that view is used.
        ``least_effort``: the effort of the search if the settings have less.
        ``source``: what to read if the file cannot be read here. The workers of a cluster read
        files only.
        """
        here = map_path(path, self._settings.path_mutation)
        try:
            if size_bytes and await self._readers.call(
                here, partial(_is_another, here, size_bytes)
            ):
                oshash = ""
            return await self._tag_video(here, oshash, on_progress, least_effort, vr=vr)
        except (MediaNotFoundError, MediaOutOfReachError) as error:
            if not self._looks_here:
                raise  # it says of each worker why
            message = str(error)
            if isinstance(error, MediaNotFoundError):
                message = await asyncio.to_thread(_not_found, path, here)
            if source is None:
                raise type(error)(message) from error
        _log.info("%s. Until then it is read through Stash.", message)
        return await self._tag_video(source, oshash, on_progress, least_effort, vr=vr)

    async def _tag_video(
        self,
        video: str | Source,
        oshash: str,
        on_progress: OnProgress | None,
        least_effort: float,
        *,
        vr: bool,
    ) -> VideoResult:
        return await self._engine.tag_video(
            video,
            identity=f"oshash:{oshash}" if oshash else None,
            least_effort=least_effort,
            vr_video=vr,
            on_progress=on_progress,
        )

    async def compare_styles(
        self,
        videos: Iterable[tuple[str, str, bool]],
        frames: int,
        on_progress: Callable[[float], None],
    ) -> tuple[FrameComparison, ...]:
        """Return how far the styles of asking agree on frames of videos.

        ``videos``: for each its path in Stash, Stash's fingerprint of it or "", and whether it is a
        VR video. Answers are stored like those of a run. Raises ``NoEndpointError``.
        """
        from vlm_engine import VideoFile

        rules = self._settings.path_mutation
        files = [
            VideoFile(map_path(path, rules), f"oshash:{oshash}" if oshash else None, vr)
            for path, oshash, vr in videos
        ]
        return await self._engine.compare_styles(files, frames, on_progress)

    async def tag_image(
        self,
        image: str | ZipEntry,
        fingerprint: str = "",
        fetch: Fetch | None = None,
        show: Show | None = None,
    ) -> ImageResult:
        """Return what the picture or clip shows.

        ``image``: where Stash has it.
        ``fingerprint``: a name for its content, or "".
        ``fetch``: gives its content if the file cannot be read here; called for a few pictures at
        a time.
        ``show``: gives a thumbnail if its kind cannot be read. If that fails too, the error says
        both.
        """
        try:
            return await self._tag_file(image, fingerprint, fetch)
        except MediaUnsupportedError as error:
            if show is None:
                raise
            unsupported = error
        async with self._contents:
            try:
                content = await show(unsupported)
                thumbnail = InMemoryFile(f"{image}, Stash's thumbnail", content)
                return await self._tag_image(
                    thumbnail, f"{fingerprint} thumbnail" if fingerprint else ""
                )
            except MediaError as error:
                _log.debug("%s", error)
                raise MediaUnsupportedError(
                    f"{unsupported}. Nor does Stash show it", reason=unsupported.reason
                ) from error

    async def _tag_file(
        self, image: str | ZipEntry, fingerprint: str, fetch: Fetch | None
    ) -> ImageResult:
        here = self._here(image)
        try:
            return await self._tag_image(here, fingerprint)
        except (MediaNotFoundError, MediaOutOfReachError, ArchiveError) as error:
            explained: MediaError = error  # a worker's says where it looked
            if self._looks_here:
                explained = await asyncio.to_thread(_explained, image, here, error)
            if fetch is None:
                raise explained from error
        self._log_first_unreadable(explained)
        async with self._contents:
            try:
                content = await fetch()
            except MediaError as error:
                raise type(explained)(f"{explained}. {error}") from error
            return await self._tag_image(InMemoryFile(f"{image}, from Stash", content), fingerprint)

    async def _tag_image(
        self, source: str | ZipEntry | InMemoryFile, fingerprint: str
    ) -> ImageResult:
        return await self._engine.tag_image(source, identity=fingerprint or None)

    def _here(self, image: str | ZipEntry) -> str | ZipEntry:
        if isinstance(image, ZipEntry):
            return replace(image, zip_path=map_path(image.zip_path, self._settings.path_mutation))
        return map_path(image, self._settings.path_mutation)

    def _most_contents(self) -> int:
        """Return how many pictures may be in memory here; a cluster takes far more at once."""
        slots = self._engine.slots
        return slots if self._looks_here else min(slots, _SENT_AT_ONCE)

    def _log_first_unreadable(self, error: MediaError) -> None:
        if not self._logged_unreadable:
            self._logged_unreadable = True
            _log.info(
                "%s. Until then Stash is asked for it, as for all others that cannot be read "
                "here. That is slower.",
                error,
            )

    def stats(self) -> Mapping[str, EndpointStats]:
        """Return what each endpoint did so far, by its name."""
        return self._engine.endpoint_stats()

    def style_comparisons(self) -> tuple[StyleComparison, ...]:
        """Return what is known of the styles of asking each model."""
        return self._engine.style_comparisons()


def longest_side(content: bytes) -> float:
    """Return the longest side of a picture in pixels; infinity for anything else, which its reader
    reports.
    """
    from PIL import Image

    try:
        with Image.open(BytesIO(content)) as image:
            return max(image.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return math.inf


def _is_another(here: str, size_bytes: int) -> bool:
    try:
        found = Path(here).stat().st_size
    except OSError:
        return False  # its reader reports that
    if found != size_bytes:
        _log.warning(
            "%s has %d bytes, and Stash knows of %d: it was changed since Stash scanned it, so scan"
            " it again. What is found is found in the file as it is now.",
            here,
            found,
            size_bytes,
        )
    return found != size_bytes


def _explained(image: str | ZipEntry, here: str | ZipEntry, error: MediaError) -> MediaError:
    """Return ``error``, with more to say if the whole file is missing. Ask the disk."""
    if Path(_file_of(here)).exists():
        return type(error)(str(error))
    return MediaNotFoundError(_not_found(_file_of(image), _file_of(here)))


def _file_of(image: str | ZipEntry) -> str:
    return image.zip_path if isinstance(image, ZipEntry) else image


def _not_found(path: str, here: str) -> str:
    """Return where the file was expected, how much of that path exists, and what to change. Ask
    the disk.
    """
    found = how_far(here) or "it was not there a moment ago"
    if here == path:
        remedy = f"If this machine has it under another path than Stash, say so in {_PATHS}"
        return f"{path}: there is no such file here: {found}. {remedy}"
    return (
        f"{here}: there is no such file here: {found}. Stash calls it {path}; {_PATHS} made "
        "the other path of it, so check that"
    )
