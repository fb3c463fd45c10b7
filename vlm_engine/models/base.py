"""The class of all stages of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Model:
    """One stage of a pipeline. Subclass it and write ``process``."""

    async def process(self, inputs: Mapping[str, Any]) -> Any:
        """Turns the stage's inputs, by name, into its output.

        A stage with one output returns the value itself; one with several returns a mapping from output name
        to value. May be called for several videos at once.
        """
        raise NotImplementedError

    async def aclose(self) -> None:
        """Gives back what the model holds. The default holds nothing."""
