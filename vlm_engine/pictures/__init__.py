"""Pictures in: files of all kinds, also inside zips, as what a person sees of them."""

from vlm_engine.pictures.animation import spread
from vlm_engine.pictures.reader import ImageViews, PictureReader, Showing, Source, name_of

__all__ = ["ImageViews", "PictureReader", "Showing", "Source", "name_of", "spread"]
