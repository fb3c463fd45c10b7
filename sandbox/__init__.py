"""What demo, tests and benchmarks share beside ``vlm_engine.testing``: labelled videos, a Stash,
and servers to test against.
"""
