"""What an endpoint tells of itself before it is asked anything."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one endpoint says it can do; None, or empty, where it does not say.

    ``models``: the names it offers, and ``sighted`` those of them that it says see pictures. ``model``: the one that the
    rest is about: the configured one, else the one it has loaded, else the first that is for conversation. ``names``: all
    names of that one, as it lists them.
    ``slots``: how many questions it works on at once. ``context_tokens``: how much one question and its answer may take.
    ``vision``: whether the model sees pictures. ``loaded``: False while the model is loaded only when it is first asked; slots
    and context may be told only afterwards. ``finishes_abandoned``: the endpoint goes on with a request that the
    client has given up, so its slot stays taken for a while. ``server``: the program, where it is recognised.
    """

    models: tuple[str, ...] = ()
    slots: int | None = None
    context_tokens: int | None = None
    vision: bool | None = None
    finishes_abandoned: bool = False
    model: str = ""
    sighted: tuple[str, ...] = ()
    loaded: bool | None = None
    server: str = ""
    names: tuple[str, ...] = ()

    def is_another(self, asked: str, answered: str) -> bool:
        """Whether ``answered``, the model of a reply, is another than the one that was asked for.

        A name that the endpoint lists may stand for a model with another name, unless it lists that one beside it.
        """
        if not asked or not answered or _are_alike(asked, answered):
            return False
        if asked in self.names:
            return answered in self.models and answered not in self.names
        return True

    def __str__(self) -> str:
        """One line for a log."""
        told = [
            self.server,
            f"model {self.model}" if self.model else "",
            f"{self.slots} slots" if self.slots else "",
            f"{self.context_tokens} tokens of context" if self.context_tokens else "",
            {True: "sees pictures", False: "sees no pictures", None: ""}[self.vision],
        ]
        return ", ".join(part for part in told if part) or "tells nothing of itself"


_RELEASE = r"\d{3,8}(-\d\d){0,2}|\d\d-\d{4}|latest|free|\d{5}-of-\d{5}"
_PACKING = r"(ud-)?i?q\d(-[0-9a-z]{1,3}){0,3}|b?fp?(8|16|32)|awq|gptq|mlx|gguf|[348]bit|int[48]|nvfp4|mxfp4"
_BEHIND = re.compile(rf"(-({_RELEASE}|{_PACKING}))*")


def _are_alike(one: str, other: str) -> bool:
    """Whether one name is the other but for its folder, its file's ending, and a date, a release, or the packing behind it.

    What else stands behind a name makes another model: ``gpt-4o-mini`` is not ``gpt-4o``, nor ``qwen2.5`` ``qwen2``.
    """
    shorter, longer = sorted((_stem(one), _stem(other)), key=len)
    return longer.startswith(shorter) and _BEHIND.fullmatch(longer, len(shorter)) is not None


def _stem(name: str) -> str:
    file = re.split(r"[/\\]", name.casefold())[-1]
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\.gguf$|[:-]latest$", "", file)).strip("-")
