"""Shared by demo, tests and benchmarks: labelled videos, a Stash, and servers to test against."""
