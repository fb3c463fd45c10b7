"""Pictures in: files of all kinds, also inside zips, as a person sees them.

- ``formats``: which formats there are, known by their first bytes, and their limits
- ``reader``: ``PictureReader``, from a source to the views that a model gets
- ``still``: one picture as a viewer shows it: decoded, upright, sRGB
- ``animation``: a handful of frames of a moving picture
- ``colours``: colour profiles, gamma and bit depths to 8-bit sRGB
- ``heif`` and ``heif_boxes``: HEIC and AVIF, decoded by FFmpeg
- ``camera_raw``: the camera's own rendering inside a raw file
- ``zips``: entries of zips, and the names they may have
"""

from vlm_engine.pictures.animation import spread
from vlm_engine.pictures.reader import ImageViews, PictureReader, Source, ViewKind, name_of

__all__ = ["ImageViews", "PictureReader", "Source", "ViewKind", "name_of", "spread"]
