"""Videos in, frames out: what a file's index tells without decoding, and the pictures shown at given times."""

from vlm_engine.video.probe import probe
from vlm_engine.video.reader import VideoReader

__all__ = ["VideoReader", "probe"]
