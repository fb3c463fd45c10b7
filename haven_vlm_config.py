"""What a user sets for the plugin."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TagNames:
    """The names of the tags in Stash by which the plugin is told what to do and says what it did."""

    parent: str = "VLM"
    tag_me: str = "VLM_TagMe"
    update_me: str = "VLM_UpdateMe"
    tagged: str = "VLM_Tagged"
    errored: str = "VLM_Errored"
