"""All tags with their places in the tree, in one request."""

from __future__ import annotations

from haven.settings.stash_tags import StashTag
from haven.stash.transport import StashClient

# Stash makes a query for the aliases, and one for the relatives, of each tag that is asked for
# them. So only tags that have any are asked, and parents for their children, since they are few.
_TREE = """query TagTree {
  findTags(filter: {per_page: -1, sort: "name", direction: ASC}) {
    tags { id name description ignore_auto_tag }
  }
  named: findTags(
    filter: {per_page: -1}, tag_filter: {aliases: {value: "", modifier: NOT_NULL}}
  ) { tags { id aliases } }
  above: findTags(
    filter: {per_page: -1, sort: "name", direction: ASC}
    tag_filter: {child_count: {value: 0, modifier: GREATER_THAN}}
  ) { tags { id children { id } } }
}"""


def read_tag_tree(client: StashClient) -> tuple[StashTag, ...]:
    """Return all tags in the order of their names. Raises ``StashError``."""
    data = client.ask(_TREE)
    aliases = {str(tag["id"]): tag["aliases"] for tag in data["named"]["tags"]}
    parents: dict[str, list[str]] = {}
    for tag in data["above"]["tags"]:
        for child in tag["children"]:
            parents.setdefault(str(child["id"]), []).append(str(tag["id"]))
    return tuple(
        StashTag(
            id=(tag_id := str(tag["id"])),
            name=str(tag["name"]),
            aliases=tuple(map(str, aliases.get(tag_id, ()))),
            description=str(tag.get("description") or ""),
            parent_ids=tuple(parents.get(tag_id, ())),
            ignore_auto_tag=bool(tag["ignore_auto_tag"]),
        )
        for tag in data["findTags"]["tags"]
    )
