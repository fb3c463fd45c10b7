"""Finds when the user's own tags apply in videos and pictures, by asking vision-language models.

``VLMEngine`` is what a program uses; its settings are in ``vlm_engine.config.models``, the stages that a user
may replace or add to in ``vlm_engine.models``, everything it raises on purpose in ``vlm_engine.errors``, and
the values it returns in ``vlm_engine.types``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vlm_engine.errors import VLMEngineError
from vlm_engine.names import tag_key

if TYPE_CHECKING:
    from vlm_engine.engine import VLMEngine

__version__ = "2.0.0"
__all__ = ["VLMEngine", "VLMEngineError", "__version__", "tag_key"]


def __getattr__(name: str) -> Any:
    """Imports the engine, and with it the decoder and the network, only when it is first asked for."""
    if name == "VLMEngine":
        from vlm_engine.engine import VLMEngine

        return VLMEngine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
