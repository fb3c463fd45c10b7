"""What demo, tests and benchmarks share beside ``vlm_engine.sandbox``: labelled videos, a Stash, and servers to test against."""
