"""VR layouts: guess them from a video's name and shape, and find the part that one eye sees ahead.
Pure.

The view of one eye is cropped from the frame and brought to its true proportions, but not projected
again. At the upper and lower edge things are then twice as wide as they are; but a flat projection
of 120 degrees leaves two fifths fewer pixels to what is straight ahead, and a text reader found
fewer words there (docs/vr.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

AUTO, OFF = "auto", "off"
FRONT_DEGREES = 120
"""Width and height of an eye's front."""


class Eyes(StrEnum):
    """Positions of the eyes in a frame: one only, or the left one on the left, or above."""

    ONE = "mono"
    SIDE_BY_SIDE = "sbs"
    OVER_UNDER = "tb"


@dataclass(frozen=True, slots=True)
class View:
    """View of one eye: degrees of its surroundings ``across`` and ``down``; 0 for a flat screen."""

    name: str
    across: int
    down: int


FLAT, HALF, WHOLE = View("flat", 0, 0), View("180", 180, 180), View("360", 360, 180)


def _fisheye(degrees: int) -> View:
    return View(f"fisheye{degrees}", degrees, degrees)


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of a frame. As text it is the name that settings use: ``sbs-180``."""

    eyes: Eyes
    view: View

    def __str__(self) -> str:
        return f"{self.eyes}-{self.view.name}"


@dataclass(frozen=True, slots=True)
class Front:
    """Part of a frame, each edge as a share of its width or height; ``aspect`` is width over height
    as shown."""

    left: float
    upper: float
    right: float
    lower: float
    aspect: float


_EYES = {
    **dict.fromkeys(("sbs", "lr", "rl", "3dh", "hsbs", "fsbs"), Eyes.SIDE_BY_SIDE),
    **dict.fromkeys(("tb", "bt", "ou", "3dv", "htb", "ftb", "hou", "fou"), Eyes.OVER_UNDER),
    **dict.fromkeys(("mono", "2d", "eac", "eac360"), Eyes.ONE),
}
_VIEWS = {
    **dict.fromkeys(("180", "vr180", "180x180", "180x160"), HALF),
    **dict.fromkeys(("360", "vr360", "360x180", "180x360"), WHOLE),
    **dict.fromkeys(("fisheye", "f180", "180f"), _fisheye(180)),
    "rf52": _fisheye(190),
    "mkx200": _fisheye(200),
    "mkx220": _fisheye(220),
    "vrca220": _fisheye(220),
    # The six sides of a cube cannot be told apart here: such a picture is shown as a whole.
    **dict.fromkeys(("flat", "eac", "eac360"), FLAT),
}
_OF_FILMS = frozenset({"hsbs", "fsbs", "htb", "ftb", "hou", "fou"})
_PHRASES = {
    "side-by-side": "sbs",
    "over-under": "ou",
    "top-bottom": "tb",
    "left-right": "lr",
    **{
        f"{size}-{eyes}": size[0] + eyes
        for size in ("half", "full")
        for eyes in ("sbs", "ou", "tb")
    },
}
_GLUED = re.compile(rf"({'|'.join(_EYES)})(180|360)|(180|360)({'|'.join(_EYES)})")
_FISHEYE = re.compile(r"(?:fisheye|f)(\d{2,3})")
_NARROWEST, _WIDEST = 90, 270


def layout_of(setting: str, name: str, width: int, height: int) -> Layout | None:
    """Return the layout of a VR video's frames; None if they are shown as they are.

    ``setting`` is ``auto``, ``off``, or the text of a layout. ``auto`` follows the words of
    ``name``, a file's name or path, as players do (``Final_LR_180.mp4``), and the shape of the
    picture for what they leave open.
    """
    if setting == OFF:
        return None
    words = _parsed(_stem(name) if setting == AUTO else setting)
    eyes, view = _guessed(*words, width / height)
    return None if (eyes, view) == (Eyes.ONE, FLAT) else Layout(eyes, view)


def checked_layout(setting: str) -> str:
    """Return ``setting`` as ``layout_of`` takes it, from any spelling (``180_LR``). Raises
    ``ValueError``."""
    plain = setting.strip().casefold()
    if plain in (AUTO, OFF):
        return plain
    eyes, view = _parsed(plain)
    if eyes is None or view is None:
        raise ValueError(
            f"{setting!r} is no layout; write auto, off, or where the eyes are (sbs, tb, mono) and "
            "what each shows (180, 360, flat, fisheye190), like sbs-180"
        )
    return str(Layout(eyes, view))


def front(layout: Layout, width: int, height: int) -> Front:
    """Return what one eye, the left or upper one, sees ahead in a frame of this size in pixels."""
    across = 0.5 if layout.eyes is Eyes.SIDE_BY_SIDE else 1.0
    down = 0.5 if layout.eyes is Eyes.OVER_UNDER else 1.0
    if layout.view == FLAT:
        return Front(
            0.0, 0.0, across, down, _unsqueezed(layout.eyes, across * width / (down * height))
        )
    beside = across * _margin(layout.view.across)
    above = down * _margin(layout.view.down)
    return Front(beside, above, across - beside, down - above, 1.0)


def _margin(degrees: int) -> float:
    """Return the share of an eye's picture on either side of the front."""
    return max(0.0, (1 - FRONT_DEGREES / degrees) / 2)


def _unsqueezed(eyes: Eyes, aspect: float) -> float:
    """Return the aspect of one eye's flat picture, which many files squeeze to half its width or
    height."""
    if eyes is Eyes.SIDE_BY_SIDE and aspect < 1.25:
        return 2 * aspect
    return aspect / 2 if eyes is Eyes.OVER_UNDER and aspect > 2.5 else aspect


def _stem(path: str) -> str:
    name = re.split(r"[\\/]", path)[-1]
    return name.rpartition(".")[0] or name


def _parsed(text: str) -> tuple[Eyes | None, View | None]:
    """Return what the words of ``text`` say; the last one counts, since a title comes first."""
    eyes: Eyes | None = None
    view: View | None = None
    for word in _words(text):
        eyes = _EYES.get(word, eyes)
        view = (
            _VIEWS.get(word) or _fisheye_of(word) or view or (FLAT if word in _OF_FILMS else None)
        )
    return eyes, view


def _words(text: str) -> list[str]:
    """Return the words of ``text`` in small letters; two written as one (``180lr``) are split."""
    text = re.sub(r"[\W_]+", "-", text.casefold())
    for phrase, word in _PHRASES.items():
        text = re.sub(rf"\b{phrase}\b", word, text)
    words: list[str] = []
    for word in text.split("-"):
        glued = None if word in _EYES else _GLUED.fullmatch(word)
        words += [part for part in glued.groups() if part] if glued else [word]
    return words


def _fisheye_of(word: str) -> View | None:
    found = _FISHEYE.fullmatch(word)
    degrees = int(found[1]) if found else 0
    return _fisheye(degrees) if _NARROWEST <= degrees <= _WIDEST else None


def _guessed(eyes: Eyes | None, view: View | None, aspect: float) -> tuple[Eyes, View]:
    """Fill in what is unknown from the shape of the whole picture, or else of one eye's."""
    if eyes is None and view is None and 1.1 < aspect < 1.5:
        return Eyes.ONE, FLAT
    if eyes is None:
        eyes = _guessed_eyes(view, aspect)
    if view is None:
        of_one = aspect * {Eyes.ONE: 1.0, Eyes.SIDE_BY_SIDE: 0.5, Eyes.OVER_UNDER: 2.0}[eyes]
        view = HALF if of_one < 1.4 else FLAT if of_one < 1.9 else WHOLE
    return eyes, view


def _guessed_eyes(view: View | None, aspect: float) -> Eyes:
    if view == FLAT:
        return Eyes.ONE
    if view == WHOLE:
        return Eyes.SIDE_BY_SIDE if aspect > 3 else Eyes.ONE if aspect >= 1.5 else Eyes.OVER_UNDER
    if aspect >= 1.5:
        return Eyes.SIDE_BY_SIDE
    return Eyes.OVER_UNDER if view is None or aspect <= 0.75 else Eyes.ONE
