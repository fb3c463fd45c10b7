"""Runs whose tags are chosen from Stash's own tree."""

from __future__ import annotations

from tests.end_to_end.conftest import CONTROL, Theatre, texts

BELOW_GAME = {"name": "Game", "below": True}
ALSO_NAMES_FOUL = "{opening}\n\nTags:\n{tags}\n- Foul\n\n{rules}\n{format}"


def grow(theatre: Theatre, *children: str) -> None:
    theatre.stash.library.add_tag("Game")
    for name in children:
        theatre.stash.library.add_tag(name, parents=["Game"])


def found(theatre: Theatre) -> dict[str, set[str]]:
    return {image: tags - {"VLM", *CONTROL} for image, tags in theatre.image_tags().items()}


def shown(added, *tags: str) -> dict[str, set[str]]:
    return {image: {*picture.tags} & {*tags} for image, picture in added.items()}


def test_new_tags_below_a_chosen_one_join_at_the_next_run(theatre, pictures):
    grow(theatre, "Foul", "Goal")
    theatre.stash.library.add_tag("Timeout", parents=["Game"], ignore_auto_tag=True)
    theatre.install(TAG_LIST=None, STASH_TAGS=[BELOW_GAME], RESPECT_IGNORE_AUTO_TAG=True)
    added = theatre.add(*pictures[:6])
    job = theatre.run("Tag Images")
    assert "Looking for 2 tags (haven_vlm_config.local.yaml: STASH_TAGS)" in texts(job, "info")
    assert "Ignore auto tag in Stash: Timeout" in texts(job, "info")
    assert found(theatre) == shown(added, "Foul", "Goal")
    theatre.stash.library.add_tag("Turnover", parents=["Game"])
    for image in added:
        theatre.stash.library.tag_image(image, "VLM_UpdateMe")
    theatre.run("Update Tagged Images")
    assert found(theatre) == shown(added, "Foul", "Goal", "Turnover")


def test_a_renamed_tag_is_followed_and_its_alias_is_an_answer(theatre):
    foul = theatre.stash.library.add_tag("Foul", description="a player is fouled")
    choice = {"id": foul, "name": "Foul"}
    settings = {"TAG_LIST": None, "TAG_RULES": {"Foul": {"MaxGap": "2s"}}, "ANSWER_FORM": "names"}
    vlm = theatre.install(STASH_TAGS=[choice], **settings)
    (scene,) = theatre.queue(0)
    assert "Foul (a player is fouled)" in texts(theatre.run(), "info")
    before = theatre.state(scene).markers
    assert {marker.primary_tag for marker in before} == {"Foul"}
    theatre.stash.library.rename_tag("Foul", "Infringement")
    theatre.stash.library.add_alias("Infringement", "Foul")
    theatre.stash.library.tag_scene(scene, "VLM_UpdateMe")
    theatre.install(vlm, STASH_TAGS=[choice], SYSTEM_PROMPT=ALSO_NAMES_FOUL, **settings)
    job = theatre.run("Update Tagged Videos")
    assert "Infringement (a player is fouled)" in texts(job, "info")
    assert texts(job, "warning", "error") == ""
    after = theatre.state(scene).markers
    assert {marker.primary_tag for marker in after} == {"Infringement"}
    assert {marker.title for marker in after} == {"Infringement"}
    assert len(after) == len(before)
    assert "Foul" not in {tag.name for tag in theatre.stash.library.snapshot().tags}


def test_a_deleted_tag_is_named_and_the_others_are_looked_for(theatre, pictures):
    grow(theatre, "Foul")
    theatre.install(TAG_LIST=None, STASH_TAGS=["Foul", {"id": 999, "name": "Dunk"}])
    added = theatre.add(*pictures[:3])
    job = theatre.run("Tag Images")
    assert "'Dunk': Stash has no such tag" in texts(job, "warning")
    assert found(theatre) == shown(added, "Foul")


def test_a_tag_renamed_in_the_middle_of_a_run_is_not_made_again(theatre, pictures):
    grow(theatre, "Foul")
    theatre.install(TAG_LIST=None, STASH_TAGS=[BELOW_GAME])
    added = theatre.add(*pictures[:6])
    theatre.stash.requests.clear()
    theatre.at_first("ImageSupport", lambda: rename(theatre))
    assert theatre.run("Tag Images").error is None
    with_foul = shown(added, "Foul")
    assert found(theatre) == {
        image: {"Infringement"} if tags else set() for image, tags in with_foul.items()
    }


def rename(theatre: Theatre) -> None:
    theatre.stash.library.rename_tag("Foul", "Infringement")
