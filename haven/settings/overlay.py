"""The overlay: settings that the plugin itself writes, in ``settings.json`` of its data folder.

It lies between the local file, which only a user edits, and Stash's page. A file beside it holds
the overlay before its last change. All functions block.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from haven.setup.files import remove_left_over, try_lock, write_whole
from vlm_engine import ConfigError

if TYPE_CHECKING:
    from haven.settings.layers import Layer

FILE, BEFORE = "settings.json", "settings.before.json"
_FOLDER = "the data folder"
_OF_OWNER = 0o600  # it may hold API keys
_WAIT_S, _ATTEMPT_S = 10.0, 0.02


class RevisionError(ConfigError):
    """The overlay was written since it was read: its revision is not the expected one."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """The settings in the overlay by name, as a user writes them, and the number of its last
    write. Without a file there are none, and the number is 0.
    """

    revision: int
    settings: Mapping[str, Any] = field(repr=False)  # it may hold API keys


def read_overlay(folder: Path) -> Overlay:
    """Return the overlay in the plugin's data folder. Its values are not checked.

    Raise ``ConfigError`` that names the file, for one that cannot be read or has another form.
    """
    return _read(folder / FILE)


def read_before(folder: Path) -> Overlay | None:
    """Return the overlay as it was before its last change, or None where that is not known."""
    try:
        return _read(folder / BEFORE) if (folder / BEFORE).exists() else None
    except ConfigError:
        return None


def _read(path: Path) -> Overlay:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Overlay(0, {})
    except OSError as error:
        raise ConfigError(
            f"{path.name}: cannot be read ({error.strerror or error}); let Stash's user read {path}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"is no JSON ({error})") from error
    match content:
        case {"revision": int(revision), "settings": dict(settings), **more} if not more:
            return Overlay(revision, settings)
    raise _damaged(path, 'must hold "revision", a number, and "settings", each by its name')


def write_overlay(folder: Path, changes: Mapping[str, Any], revision: int) -> Overlay:
    """Change settings in the overlay and return it as written, with a revision one higher.

    ``changes``: values by the settings' names, as they stand in JSON; None removes the setting.
    ``revision``: of the overlay that they were made from. The file is as before or whole at any
    moment, also if the process is killed. Only its owner may read it.

    Raise ``RevisionError`` if another write came between, and ``ConfigError`` that lists the
    faults of all values, or names the file that cannot be read or written. Then nothing is
    written.
    """
    from haven.settings.layers import Layer, read  # they need packages that reading does not

    faults: list[str] = []
    read(Layer(FILE, changes), faults)
    if faults:
        raise ConfigError("\n".join(faults))
    with _written_by_one(folder):
        before = _expected(folder, revision)
        merged = {**before.settings, **changes}
        settings = {name: value for name, value in merged.items() if value is not None}
        return _replace(folder, before, Overlay(revision + 1, settings))


def restore_overlay(folder: Path, revision: int) -> Overlay:
    """Bring the overlay back to before its last change, and return it with a revision one higher.
    Once more brings the change back.

    ``revision``: of the overlay whose last change that is. Raise as ``write_overlay`` does, and
    ``ConfigError`` where nothing is known from before.
    """
    with _written_by_one(folder):
        current, earlier = _expected(folder, revision), read_before(folder)
        if earlier is None:
            raise ConfigError(f"{FILE}: what it was before its last change is not known")
        return _replace(folder, current, Overlay(revision + 1, earlier.settings))


def _expected(folder: Path, revision: int) -> Overlay:
    overlay = read_overlay(folder)
    if overlay.revision != revision:
        raise RevisionError(
            f"{FILE}: was written since (revision {overlay.revision}, expected {revision}); "
            "read it again and repeat the change"
        )
    return overlay


def _replace(folder: Path, before: Overlay, after: Overlay) -> Overlay:
    remove_left_over(folder)
    for name, overlay in ((BEFORE, before), (FILE, after)):
        write_whole(folder / name, _as_json(overlay), mode=_OF_OWNER)
    return after


def overlay_layer(
    folder: Path | None, faults: list[str], settings: Mapping[str, Any] | None = None
) -> Layer:
    """Return the overlay as a layer, empty without a folder or a file. Add what is wrong with the
    file to ``faults``. ``settings``: those of a file that is not written yet.
    """
    from haven.settings.layers import Layer

    try:
        if settings is None:
            settings = read_overlay(folder).settings if folder else {}
    except ConfigError as error:
        faults.append(str(error))
    return Layer(FILE, settings or {}, folder=_FOLDER)


def _damaged(path: Path, fault: str) -> ConfigError:
    return ConfigError(
        f"{FILE}: {fault}; correct {path}, or delete it: then its settings are no longer set"
    )


def _as_json(overlay: Overlay) -> str:
    content = {"revision": overlay.revision, "settings": dict(overlay.settings)}
    try:
        return json.dumps(content, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{FILE}: cannot hold these values ({error}); write text, finite numbers, true or "
            "false, lists and objects"
        ) from error


@contextmanager
def _written_by_one(folder: Path) -> Iterator[None]:
    """Keep other writers out. Raise ``ConfigError`` where the disk refuses, or one stays long."""
    give_up_s = time.monotonic() + _WAIT_S
    try:
        with (folder / f"{FILE}.lock").open("ab") as lock:
            while not try_lock(lock):
                if time.monotonic() > give_up_s:
                    raise ConfigError(
                        f"{FILE}: another process has been writing it for {_WAIT_S:.0f} s; end "
                        "it, and repeat the change"
                    )
                time.sleep(_ATTEMPT_S)
            yield
    except OSError as error:
        raise ConfigError(
            f"{FILE}: cannot be written ({error.strerror or error}); let Stash's user write to "
            f"{folder}, and free some disk space"
        ) from error
