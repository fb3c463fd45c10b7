"""Parse YAML as people write it: errors name their line, and a key written twice is one of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vlm_engine.errors import ConfigError

if TYPE_CHECKING:
    from yaml import MappingNode, Node


def parse_yaml(text: str) -> Any:
    """Return what the text holds; None if that is nothing.

    Raises ``ConfigError`` that says which line is no YAML or has a control character, or that names
    each key written twice, with both lines.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        where, character = text.count("\n", 0, error.position) + 1, ord(text[error.position])
        raise ConfigError(
            f"not YAML: line {where}: the character U+{character:04X} is none that a text has; "
            "delete it there"
        ) from error
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        twice = [fault for mapping in _mappings(root, set()) for fault in _written_twice(mapping)]
        if twice:
            raise ConfigError("\n".join(twice))
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigError(f"not YAML: {line}{error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {' '.join(str(error).split())}") from error
    except (ValueError, OverflowError) as error:
        # A number of thousands of digits, or the 31st of February.
        raise ConfigError(f"a value in it cannot be read: {error}") from error
    finally:
        loader.dispose()


def _mappings(node: Node, seen: set[int]) -> Iterator[MappingNode]:
    """Yield every mapping in ``node``, in the order of the text; one with an anchor once."""
    from yaml import MappingNode, SequenceNode

    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, MappingNode):
        yield node
    inner = (
        [part for pair in node.value for part in pair]
        if isinstance(node, MappingNode)
        else node.value
    )
    for part in inner if isinstance(node, MappingNode | SequenceNode) else ():
        yield from _mappings(part, seen)


def _written_twice(mapping: MappingNode) -> Iterator[str]:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in mapping.value:
        if not isinstance(key.value, str) or key.tag == "tag:yaml.org,2002:merge":
            continue
        line, name = key.start_mark.line + 1, (key.tag, key.value)
        if name in lines:
            where = f"lines {lines[name]} and {line}" if line != lines[name] else f"line {line}"
            yield (
                f"{key.value!r} is written twice, in {where}, and only one would count; "
                "write it once"
            )
        lines.setdefault(name, line)
