"""The stages of a pipeline: ``Model``, which a user subclasses, the ready-made ones, and those
built in.
"""

from vlm_engine.models.base import Model
from vlm_engine.models.transform import DropTags, FilterCategories, MergeTags, RenameTags, Transform

__all__ = ["DropTags", "FilterCategories", "MergeTags", "Model", "RenameTags", "Transform"]
