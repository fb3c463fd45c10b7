"""All tags with their places in the tree, in one request."""

from __future__ import annotations

from haven.settings.stash_tags import StashTag
from haven.stash.transport import StashClient

# No counts: each would be a query of Stash's for each tag.
_TREE = """query TagTree {
  findTags(filter: {per_page: -1, sort: "name", direction: ASC}) {
    tags { id name aliases description ignore_auto_tag parents { id } }
  }
}"""


def read_tag_tree(client: StashClient) -> tuple[StashTag, ...]:
    """Return all tags in the order of their names. Raises ``StashError``."""
    return tuple(
        StashTag(
            id=str(tag["id"]),
            name=str(tag["name"]),
            aliases=tuple(map(str, tag["aliases"])),
            description=str(tag.get("description") or ""),
            parent_ids=tuple(str(parent["id"]) for parent in tag["parents"]),
            ignore_auto_tag=bool(tag["ignore_auto_tag"]),
        )
        for tag in client.ask(_TREE)["findTags"]["tags"]
    )
