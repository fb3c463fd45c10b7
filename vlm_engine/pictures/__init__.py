"""Pictures in: files of all kinds, also inside zips, as what a person sees of them."""

from vlm_engine.pictures.moving import spread
from vlm_engine.pictures.reading import ImageViews, PictureReader, Showing
from vlm_engine.pictures.source import Source, name_of

__all__ = ["ImageViews", "PictureReader", "Showing", "Source", "name_of", "spread"]
