"""Base class of all stages of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlm_engine.errors import ConfigError


class Model:
    """One stage of a pipeline. Subclass it and write ``process``.

    ``needs``: the values that must be among its inputs; a pipeline without them is refused when it
    is loaded. ``takes``: values of the call that it gets besides its inputs, whether or not they
    are inputs of the pipeline.
    """

    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()

    async def process(self, inputs: Mapping[str, Any]) -> Any:
        """Return the stage's output for its inputs by name.

        A stage with one output returns the value itself; one with several returns a mapping from
        output name to value. May be called for several videos at once.
        """
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close what the model holds. The default holds nothing."""


def only(inputs: Mapping[str, Any], who: str, *kinds: type) -> Any:
    """Return the one value among ``inputs`` that is of these kinds, whatever its name.

    Raises ``ConfigError`` with the name of the stage ``who`` when there is none or there are
    several.
    """
    found = [value for value in inputs.values() if isinstance(value, kinds)]
    if len(found) != 1:
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ConfigError(
            f"{who} takes one {wanted}; among its inputs ({', '.join(inputs)}) are {len(found)}"
        )
    return found[0]
