"""The operation ``frames``: exact frames of a scene, from the decoder that the runs use."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from haven.items import ItemKind, ItemRef
from haven.pages.context import PageContext
from haven.pages.contract import Frame, Frames, FramesArguments
from haven.pages.errors import BadRequestError
from haven.stash.errors import ItemGoneError
from haven.stash.reading import read_all
from haven.stash.stream import SceneStream
from haven.stash.values import Scene
from vlm_engine import (
    MediaError,
    MediaNotFoundError,
    MediaOutOfReachError,
    Source,
    map_path,
    read_frames,
)

_STALL_S = 10.0  # a person waits at the page


def frames(context: PageContext, arguments: FramesArguments) -> Frames:
    """Return the frames of the scene's first file. A frame that cannot be read has the reason.

    Raises ``BadRequestError``, ``ItemGoneError``, ``ConfigError`` and the errors of Stash.
    """
    times_s = arguments.times_s
    if arguments.width < 1:
        raise BadRequestError("width: write 1 at least")
    try:
        jpegs = _jpegs(context, arguments.scene, times_s, arguments.width)
    except MediaError as error:
        jpegs = [error] * len(times_s)
    return Frames(tuple(map(_frame, times_s, jpegs)))


def _jpegs(
    context: PageContext, scene_id: str, times_s: Sequence[float], width: int
) -> Sequence[bytes | MediaError]:
    scenes = read_all(context.client, Scene, [scene_id])
    if not scenes:
        raise ItemGoneError(ItemRef(ItemKind.SCENE, scene_id))
    if not scenes[0].path:
        raise MediaNotFoundError("Stash knows no file for this scene")
    settings = context.settings()
    here = map_path(scenes[0].path, settings.path_mutation)
    try:
        return _read(here, times_s, width)
    except (MediaNotFoundError, MediaOutOfReachError):
        if not settings.stream_from_stash:
            raise
    stream = SceneStream(context.client, scene_id, scenes[0].path, stall_s=_STALL_S)
    return _read(stream, times_s, width)


def _read(
    video: str | Source, times_s: Sequence[float], width: int
) -> Sequence[bytes | MediaError]:
    found = read_frames(video, times_s, width, stall_s=_STALL_S)
    return [one if isinstance(one, MediaError) else one.jpeg for one in found]


def _frame(time_s: float, jpeg: bytes | MediaError) -> Frame:
    if isinstance(jpeg, MediaError):
        return Frame(time_s, None, str(jpeg))
    return Frame(time_s, base64.b64encode(jpeg).decode(), "")
