"""The library's tree of tags, and counts for each tag."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing

from haven.settings.overlay import write_overlay
from haven.stash.journal import Journal
from sandbox.stash_client import ask
from tests.pages.test_decisions import Case

CREATE = "mutation ($input: TagCreateInput!) { tagCreate(input: $input) { id } }"


def created(pages, name, **more):
    reply = ask(pages.stash.url, CREATE, {"input": {"name": name, **more}})
    return reply.data["tagCreate"]["id"]


def test_the_tree_comes_in_one_request_with_what_is_chosen(pages):
    pages.data_dir.mkdir()
    write_overlay(pages.data_dir, {"TAG_LIST": ["foul", "Goal"]}, 0)
    play, offence = created(pages, "Play"), created(pages, "Offence")
    foul = created(
        pages,
        "Foul",
        parent_ids=[play, offence],
        aliases=["Personal"],
        description="a player hits",
        ignore_auto_tag=True,
    )
    created(pages, "Score", aliases=["Goal"])
    pages.stash.requests.clear()
    tags = {tag["name"]: tag for tag in pages.value("tag_tree")["tags"]}
    assert pages.stash.requests.operations == ["Handshake", "TagTree"]
    assert tags["Foul"] == {
        "id": foul,
        "name": "Foul",
        "aliases": ["Personal"],
        "former_names": [],
        "meaning": "a player hits",
        "parents": [offence, play],
        "ignore_auto_tag": True,
        "is_chosen": True,
    }
    assert [name for name, tag in tags.items() if tag["is_chosen"]] == ["Foul", "Score"]
    assert [*tags] == ["Foul", "Offence", "Play", "Score"]


def test_the_tree_says_what_became_of_chosen_tags(pages):
    pages.data_dir.mkdir()
    game = created(pages, "Game")
    foul = created(pages, "Foul", parent_ids=[game], aliases=["Personal"])
    created(pages, "Timeout", parent_ids=[game], ignore_auto_tag=True)
    choices = [{"id": game, "name": "Game", "below": True}, {"id": "99", "name": "Dunk"}]
    settings = {"STASH_TAGS": choices, "RESPECT_IGNORE_AUTO_TAG": True}
    write_overlay(pages.data_dir, settings, 0)
    value = pages.value("tag_tree")
    assert [tag["id"] for tag in value["tags"] if tag["is_chosen"]] == [foul]
    assert ["'Dunk'" in note for note in value["notes"]] == [True, False]
    assert value["notes"][1].endswith("Ignore auto tag in Stash: Timeout")
    assert [tag["name"] for tag in pages.value("tag_results")["tags"]] == ["Foul"]


def test_chosen_tags_are_settings_with_a_source(pages):
    foul = created(pages, "Foul")
    entry = {"id": foul, "name": "Foul"}
    change = {"name": "STASH_TAGS", "value": json.dumps([entry])}
    value = pages.value("change_settings", revision=0, changes=[change])
    row = next(one for one in value["values"] if one["name"] == "STASH_TAGS")
    assert (json.loads(row["value"]), row["kind"]) == ([entry], "list")
    assert row["source"] == "settings.json in the data folder: STASH_TAGS"
    assert value["faults"] == []


def test_counts_tell_what_was_found_and_judged(pages):
    case = Case(pages)
    write_overlay(pages.data_dir, {"TAG_LIST": ["Foul", "Goal", "Turnover"]}, 0)
    case.run()
    case.decide("wrong", 10)
    case.decide("keep", 50)
    case.decide("adjust", 30, tag="Goal")
    counts = {tag.pop("name"): tag for tag in pages.value("tag_results")["tags"]}
    none = {"found": 0, "kept": 0, "wrong": 0, "adjusted": 0, "threshold": 0.5}
    none |= {"is_looked_for": True, "former_names": []}
    assert counts == {
        "Foul": {**none, "kept": 1, "wrong": 1},
        "Goal": {**none, "adjusted": 1},
        "Turnover": none,
    }
    case.undo()
    case.decide("wrong", 50)
    counts = {tag.pop("name"): tag for tag in pages.value("tag_results")["tags"]}
    assert counts["Foul"] == {**none, "wrong": 2}
    assert counts["Goal"] == {**none, "found": 1}


def test_the_least_sure_markers_come_first_and_no_judged_one(pages):
    case = Case(pages)
    case.run()
    every = pages.value("least_sure", tag=None)["markers"]
    assert {one["scene"] for one in every} == {case.scene}
    sure = [one["confidence"] for one in every]
    assert sure == sorted(sure)
    assert min(sure) >= 0.5
    fouls = pages.value("least_sure", tag="Foul")["markers"]
    assert [one for one in every if one["tag"] == "Foul"] == fouls
    first = fouls[0]
    case.decide("keep", first["start_s"])
    assert first not in pages.value("least_sure", tag="Foul")["markers"]
    case.remove()
    assert pages.value("least_sure", tag=None)["markers"] == []


def test_results_of_a_renamed_tag_stay_its_own(pages):
    case = Case(pages)
    case.run()
    foul = pages.stash.library.tag_id("Foul")
    write_overlay(pages.data_dir, {"STASH_TAGS": [{"id": foul, "name": "Foul"}]}, 0)
    before = {one["name"]: one["found"] for one in pages.value("tag_results")["tags"]}
    pages.stash.library.rename_tag("Foul", "Infringement")
    after = {one["name"]: one["found"] for one in pages.value("tag_results")["tags"]}
    assert (after["Infringement"], "Foul" in after) == (before["Foul"], False)


def test_the_least_sure_of_20_000_scenes_are_there_at_once(tmp_path):
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        run = journal.runs.start("Tag Videos")
        with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as db, db:
            db.execute(
                "INSERT INTO journal_plans (id, run_id, item_id, plan, opened)"
                " VALUES (1, ?, '1', '', 0)",
                (run,),
            )
            spans = [
                (
                    str(scene),
                    f"Tag {tag}",
                    60.0 * tag,
                    60.0 * tag + 9,
                    0.5 + (scene * tag % 97) / 200,
                )
                for scene in range(20_000)
                for tag in range(10)
            ]
            db.executemany("INSERT INTO journal_least_sure VALUES (?, ?, ?, ?, ?)", spans)
            db.executemany(
                "INSERT INTO journal_markers (plan_id, scene_id, tag_ids, marker_id, title,"
                " start_s, end_s, primary_id) VALUES (1, ?, '', '', ?, ?, ?, '1')",
                [span[:4] for span in spans if span[1] != "Tag 0"],
            )
        started = time.perf_counter()
        assert len(journal.least_sure(None, 10)) == 10
        assert len(journal.least_sure("Tag 7", 10)) == 10
        assert journal.least_sure("Tag 0", 10) == ()
        assert time.perf_counter() - started < 3
