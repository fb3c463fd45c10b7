"""Pictures in: files of all kinds, also inside zips, as the pictures that a person sees."""

from vlm_engine.pictures.source import Source, fingerprint
from vlm_engine.pictures.stills import open_picture
from vlm_engine.pictures.zips import Zips

__all__ = ["Source", "Zips", "fingerprint", "open_picture"]
