"""The search: frames to ask about, and what the answers mean. No I/O, no clock, no randomness."""

from vlm_engine.search.grouped import GroupedSearch, regrouped
from vlm_engine.search.pricing import ONE_MODEL, Costs
from vlm_engine.search.video_search import VideoSearch

__all__ = ["ONE_MODEL", "Costs", "GroupedSearch", "VideoSearch", "regrouped"]
