"""What an endpoint tells of itself before it is asked anything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one endpoint says it can do; None where it does not say.

    ``models``: the names it offers. ``slots``: how many questions it works on at once. ``context_tokens``: how much one
    question and its answer may take. ``vision``: whether the model that is asked sees pictures. ``finishes_abandoned``: it goes
    on with a request that the client has given up, so its slot stays taken for a while.
    """

    models: tuple[str, ...] = ()
    slots: int | None = None
    context_tokens: int | None = None
    vision: bool | None = None
    finishes_abandoned: bool = False
