"""A contender for the product's search, measured beside it: it thinks in beliefs and prices. See README.md here."""

from benchmarks.belief_search.video_search import BeliefSearch

__all__ = ["BeliefSearch"]
