"""Task arguments that name items."""

from __future__ import annotations

import pytest

from haven.items import ItemKind
from haven.tasks.selection import MOST_IDS, check_arguments, excepted_tags, selected
from vlm_engine import ConfigError


def test_without_names_the_queue_counts():
    assert selected({"mode": "tag_videos"}) is None


def test_ids_are_taken_once_and_in_order():
    found = selected({"scenes": "13, 12;13\n7", "galleries": "1"})
    assert found.of(ItemKind.SCENE) == ("13", "12", "7")
    assert found.of(ItemKind.GALLERY) == ("1",)
    assert found.of(ItemKind.IMAGE) == ()


@pytest.mark.parametrize("text", ["", " , ", "twelve", "1,-2", "1.5", "0", "['12']", "9" * 19, "٣"])
def test_what_is_no_list_of_ids_is_refused(text):
    with pytest.raises(ConfigError, match="task arguments: scenes: .*like 12,13|no id is named"):
        selected({"scenes": text})


def test_too_many_ids_are_refused():
    ids = ",".join(map(str, range(1, MOST_IDS + 2)))
    with pytest.raises(ConfigError, match="2,001 items are named, and a task takes 2,000"):
        selected({"images": ids})


def test_a_task_refuses_what_it_would_ignore():
    with pytest.raises(ConfigError, match="Undo Last Run does not take scenes"):
        check_arguments("Undo Last Run", (), {"scenes": "1"})
    with pytest.raises(ConfigError, match="Tag Images does not take scenes; it takes images and"):
        check_arguments("Tag Images", ("images", "galleries"), {"scenes": "1"})


def test_tags_that_are_left_out_are_names():
    assert excepted_tags({}) == ()
    assert excepted_tags({"except_tags": "Home game, Foul;Home game"}) == ("Home game", "Foul")
