"""All tasks. A new one is a function, a row here, and an entry in ``ahavenvlmconnector.yml``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from haven.tasks.context import TaskContext
from haven.tasks.previews import make_previews
from haven.tasks.selection import (
    EXCEPT_TAGS,
    GALLERIES,
    GALLERY_FILTER,
    IMAGE_FILTER,
    IMAGES,
    ORDER,
    RUN,
    SCENE_FILTER,
    SCENES,
    SEARCH,
)
from haven.tasks.tagging import (
    bring_back,
    preview,
    tag_images,
    tag_new,
    tag_videos,
    update_images,
    update_videos,
)
from haven.tasks.undo import remove_owned, undo_last_run


@dataclass(frozen=True, slots=True)
class Task:
    """A task by its name on Stash's Tasks page. ``run`` takes its context and returns its end line.

    ``looks_at_media``: all settings must be right. ``brings_back``: what people took off is put
    back where it is found. ``timeout_s``: how long to wait for a reply of Stash.
    """

    name: str
    run: Callable[[TaskContext], Awaitable[str]]
    looks_at_media: bool = True
    brings_back: bool = False
    takes: tuple[str, ...] = ()
    timeout_s: float = 120.0


async def _check(context: TaskContext) -> str:
    from haven.tasks.check import check  # no other task needs it, nor what it checks with

    return await check(context)


_SCENES = (SCENES, SCENE_FILTER, SEARCH, ORDER)
_IMAGES = (IMAGES, GALLERIES, IMAGE_FILTER, GALLERY_FILTER, SEARCH, ORDER)
_ALL = (SCENES, SCENE_FILTER, *_IMAGES)
_UNDOABLE = (RUN, SCENES, IMAGES, GALLERIES)
TASKS: Mapping[str, Task] = {
    "tag_videos": Task("Tag Videos", tag_videos, takes=_SCENES),
    "tag_images": Task("Tag Images", tag_images, takes=_IMAGES),
    "tag_new": Task("Tag What Is New", tag_new, takes=(EXCEPT_TAGS, ORDER)),
    "update_videos": Task("Update Tagged Videos", update_videos, takes=_SCENES),
    "update_images": Task("Update Tagged Images", update_images, takes=_IMAGES),
    "bring_back": Task("Bring Back What You Removed", bring_back, brings_back=True, takes=_ALL),
    "preview": Task("Preview", preview, takes=_ALL),
    "check_setup": Task("Check Set-up", _check, timeout_s=10.0),
    "undo_last_run": Task("Undo Last Run", undo_last_run, looks_at_media=False, takes=_UNDOABLE),
    "marker_previews": Task(
        "Make Marker Previews", make_previews, looks_at_media=False, takes=(RUN,)
    ),
    "remove_ours": Task("Remove VLM Tags and Markers", remove_owned, looks_at_media=False),
}
"""Each task by its ``mode`` in the manifest."""
