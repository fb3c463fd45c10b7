"""What demo, tests and benchmarks share beside ``vlm_engine.sandbox``: labelled videos, a Stash, and servers to test against."""

from vlm_engine.sandbox import glyphs

__all__ = ["glyphs"]
