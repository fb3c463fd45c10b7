"""The class of all stages of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vlm_engine.errors import ConfigError


class Model:
    """One stage of a pipeline. Subclass it and write ``process``.

    ``needs``: the values that must be among its inputs; a pipeline that does not hand them over is refused when it is loaded.
    ``takes``: values of the call that it gets besides its inputs, whether or not they are among those of the pipeline.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[tuple[str, ...]] = ()

    async def process(self, inputs: Mapping[str, Any]) -> Any:
        """Turns the stage's inputs, by name, into its output.

        A stage with one output returns the value itself; one with several returns a mapping from output name
        to value. May be called for several videos at once.
        """
        raise NotImplementedError

    async def aclose(self) -> None:
        """Gives back what the model holds. The default holds nothing."""


def only(inputs: Mapping[str, Any], who: str, *kinds: type) -> Any:
    """The one value among ``inputs`` that is of these kinds, whatever its name. ``ConfigError`` tells ``who`` misses it."""
    found = [value for value in inputs.values() if isinstance(value, kinds)]
    if len(found) != 1:
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ConfigError(
            f"{who} takes one {wanted}; among its inputs ({', '.join(inputs)}) are {len(found)}"
        )
    return found[0]
