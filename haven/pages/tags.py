"""Tags of Stash's tree."""

from __future__ import annotations

from haven.pages.context import PageContext
from haven.pages.contract import TagTree, TreeTag
from haven.settings.merge import tags_of
from haven.settings.settings import Settings
from haven.stash.tag_tree import read_tag_tree
from haven.stash.values import tag_key


def tag_tree(context: PageContext) -> TagTree:
    """Return all tags of Stash. Raises ``StashError``."""
    merged, _ = Settings.with_faults(context.server.settings, context.data_dir)
    chosen = set(map(tag_key, tags_of(merged.engine())))
    return TagTree(
        tuple(
            TreeTag(
                id=tag.id,
                name=tag.name,
                aliases=tag.aliases,
                description=tag.description,
                parents=tag.parent_ids,
                ignore_auto_tag=tag.ignore_auto_tag,
                is_chosen=not chosen.isdisjoint(map(tag_key, (tag.name, *tag.aliases))),
            )
            for tag in read_tag_tree(context.client)
        )
    )
