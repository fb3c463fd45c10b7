"""The stages of a pipeline: ``Model``, which a user subclasses, and the built-in ones."""

from vlm_engine.models.base import Model

__all__ = ["Model"]
