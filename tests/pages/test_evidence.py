"""What a run saw is stored with its result, small, and before thresholds."""

import random
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from haven.items import ItemKind, ItemRef
from haven.stash.evidence import Evidence, FrameSeen, TagSeen
from haven.stash.handler import MediaHandler
from haven.stash.journal import Journal
from haven.stash.values import ItemSnapshot
from sandbox.pictures import write_folder
from sandbox.stash import SandboxStash
from tests.plugin.fragile import NAMES, FragileClient, KilledError, handler_of, once_replied
from tests.plugin.items import SCENE, info
from tests.torture.world import TAGS, arena_of_scenes
from vlm_engine import ImageTagInfo, ModelIdentity, Span, Verdict
from vlm_engine.testing.threads import running

FOUND = info("Foul", Foul=[(10, 20)])
SEEN = Evidence(
    "Final",
    "Tag Videos",
    "sandbox-vlm",
    (
        TagSeen(
            "Foul",
            "Personal foul",
            0.5,
            (Span("Foul", 10, 20, 0.97), Span("Foul", 50, 60)),
            ModelIdentity("sandbox-vlm", "1234abcd"),
        ),
        TagSeen("Goal", "Goal", 0.4),
    ),
    (
        FrameSeen(12.345, {"Foul": Verdict(True, 0.9), "Goal": Verdict(False)}),
        FrameSeen(30.0, {"Goal": Verdict(False, 0.0)}),
        FrameSeen(31.0),
    ),
    600.5,
    ((100.0, 110.0),),
    effort=1.6,
)


@pytest.fixture
def stash():
    with running(SandboxStash()) as stash:
        yield stash


def stored(folder, item, made_s=0.0):
    with closing(Journal(folder / "journal.sqlite")) as journal:
        return journal.evidence(item, made_s)


def test_what_is_packed_is_unpacked():
    assert Evidence.unpack(SEEN.pack(), 0.0) == SEEN


def test_a_long_scene_takes_less_than_200_kb():
    rng, tags = random.Random(1), [f"Tag {number}" for number in range(20)]

    def spans(tag):
        starts = sorted(rng.uniform(0, 7200) for _ in range(250))
        return tuple(Span(tag, start, start + rng.uniform(1, 60), rng.random()) for start in starts)

    def verdicts():
        return {tag: Verdict(rng.random() < 0.1, rng.random()) for tag in tags}

    times_s = sorted(rng.uniform(0, 7200) for _ in range(2000))
    seen = Evidence(
        "Final",
        "Tag Videos",
        "sandbox-vlm",
        tuple(TagSeen(tag, tag, 0.5, spans(tag)) for tag in tags),
        tuple(FrameSeen(time_s, verdicts()) for time_s in times_s),
    )
    assert sum(len(one.spans) for one in seen.tags) == 5000
    packed = seen.pack()
    assert len(packed) < 200_000
    unpacked = Evidence.unpack(packed, 0.0)
    assert len(unpacked.frames) == 2000
    assert unpacked.frames[7].time_s == pytest.approx(times_s[7], abs=0.001)


@pytest.mark.parametrize("kind", [ItemKind.SCENE, ItemKind.IMAGE])
def test_the_latest_run_replaces_what_was_seen(stash, tmp_path, kind):
    item = getattr(stash.library, f"add_{kind}")(tags=["VLM_TagMe"])
    ref = ItemRef(kind, item)
    assert stored_after(stash, tmp_path, ref, SEEN).looked_at_s > 0
    later = Evidence("Final", "Update Tagged Videos", "another", (), ())
    assert stored_after(stash, tmp_path, ref, later).model == "another"
    assert stored(tmp_path, ItemRef(kind, "999")) is None


def stored_after(stash, folder, ref, seen):
    with handler_of(stash, folder) as handler:
        handler.prepare()
        run_id = handler.start_run("Tag")
        handler.apply(run_id, ref.kind, {ref.id: FOUND}, evidence={ref.id: seen})
    return stored(folder, ref)


def test_evidence_is_stored_in_one_step_with_the_plan(stash, tmp_path):
    scene = stash.library.add_scene(tags=["VLM_TagMe"])
    with handler_of(stash, tmp_path) as handler:
        handler.prepare()
        once_replied(stash, "MarkersCreate", handler)
        with pytest.raises(KilledError):
            handler.apply(
                handler.start_run("Tag Videos"), SCENE, {scene: FOUND}, evidence={scene: SEEN}
            )
    ref = ItemRef(SCENE, scene)
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        assert [one.plan.item for one in journal.unfinished()] == [ref]
        assert journal.evidence(ref).tags == SEEN.tags


def test_evidence_of_an_item_of_the_same_id_is_not_shown(tmp_path):
    ref = ItemRef(SCENE, "7")
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        journal.store_evidence(ItemSnapshot(ref, (), (), 1000.0), SEEN)
        assert journal.evidence(ref, 1000.0) is not None
        assert journal.evidence(ref, 2000.0) is None


@pytest.mark.expects_errors
def test_damaged_evidence_counts_as_none(tmp_path):
    ref = ItemRef(SCENE, "7")
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        journal.store_evidence(ItemSnapshot(ref, ()), SEEN)
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as db, db:
        db.execute("UPDATE journal_evidence SET evidence = x'00'")
    assert stored(tmp_path, ref) is None


def test_a_run_stores_what_it_saw_also_below_the_threshold(tmp_path):
    with arena_of_scenes(tmp_path, 1) as arena, arena.world() as place:
        (scene,) = place.stash.library.snapshot().scenes
        assert place.run("preview")
        with closing(Journal(place.database)) as journal:
            assert journal.evidence(ItemRef(SCENE, scene.id)) is None, "nothing is in Stash yet"
        assert place.run("tag_videos", VIDEO_THRESHOLD="1.0", MODEL=""), "the server names it"
        with closing(Journal(place.database)) as journal:
            seen = journal.evidence(ItemRef(SCENE, scene.id))
        present = {tag for tag, spans in arena.videos[0].truth.items() if spans}
        assert {one.tag for one in seen.tags} == set(TAGS)
        assert {one.tag for one in seen.tags if one.spans} == present
        assert {one.threshold for one in seen.tags} == {1.0}
        assert (seen.title, seen.task, seen.model) == (scene.title, "Tag Videos", "sandbox-vlm")
        assert {one.judge.model for one in seen.tags} == {"sandbox-vlm"}
        assert all(one.judge.wording for one in seen.tags)
        assert seen.duration_s == pytest.approx(4, abs=0.5)
        assert seen.effort == 1
        yes = {tag for frame in seen.frames for tag, one in frame.verdicts.items() if one.present}
        assert yes == present


def test_images_keep_what_was_seen_of_each(tmp_path):
    with arena_of_scenes(tmp_path / "videos", 0) as arena:
        pictures = write_folder(tmp_path / "pictures", 3, TAGS)
        with replace(arena, folder=tmp_path, pictures=pictures).world() as place:
            assert place.run("tag_images")
            images = place.stash.library.snapshot().images
            with closing(Journal(place.database)) as journal:
                seen = [journal.evidence(ItemRef(ItemKind.IMAGE, one.id)) for one in images]
    for one, picture in zip(seen, pictures, strict=True):
        (frame,) = one.frames
        assert {tag for tag, each in frame.verdicts.items() if each.present} == set(picture.tags)
        assert (one.task, len(one.tags)) == ("Tag Images", len(TAGS))


def test_an_image_shows_its_tags_beside_what_was_seen(pages):
    library = pages.stash.library
    image = library.add_image(tags=["VLM_TagMe"], title="Penalty")
    assert pages.value("image", id=image)["looked_at"] is None
    seen = Evidence(
        "Penalty",
        "Tag Images",
        "sandbox-vlm",
        tuple(TagSeen(tag, tag, 0.5) for tag in ("Foul", "Goal", "Timeout")),
        (FrameSeen(0.0, {"Foul": Verdict(True, 0.9), "Goal": Verdict(True, 0.8)}),),
    )
    found = ImageTagInfo({"sport": ("Foul", "Goal")}, {})
    path = pages.context().store_path
    with MediaHandler(FragileClient(pages.stash), path, NAMES) as handler:
        handler.prepare()
        run_id = handler.start_run("Tag Images")
        handler.apply(run_id, ItemKind.IMAGE, {image: found}, evidence={image: seen})
    library.untag_image(image, "Goal")
    value = pages.value("image", id=image)
    assert (value["title"], value["model"]) == ("Penalty", "sandbox-vlm")
    assert [(one["tag"], one["spans"][0]["state"]) for one in value["tags"]] == [
        ("Foul", "marker"),
        ("Goal", "gone"),
        ("Timeout", "below"),
    ]
    assert value["frames"] == [{"time_s": 0, "tags": [["Foul", True, 0.9], ["Goal", True, 0.8]]}]
    assert pages.failure("image", id="999")[0] == "not_found"
