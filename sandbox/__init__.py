"""What demo, tests and benchmarks share: labelled videos, a model endpoint and a Stash, all real on loopback."""
