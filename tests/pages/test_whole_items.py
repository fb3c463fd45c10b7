"""Decisions about tags of images and galleries: written to Stash and the journal, obeyed by every
later run, undone exactly.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from haven.pages.contract import DecideArguments, UndoArguments
from haven.pages.decisions import decide, undo_decision
from haven.pages.forms import parsed
from haven.stash.evidence import Evidence, FrameSeen, TagSeen
from haven.stash.handler import MediaHandler
from haven.stash.values import change_of
from tests.plugin.fragile import NAMES, FragileClient, KilledError
from tests.plugin.items import GALLERY, IMAGE, undo
from vlm_engine import ImageTagInfo, ModelIdentity, Verdict

TAGS = ("Foul", "Goal", "Timeout")
SURE = {"Foul": 0.9, "Goal": 0.8, "Timeout": 0.2}


class Case:
    """An image or a gallery that was tagged, and its page."""

    def __init__(self, pages, kind):
        self.pages, self.kind, self.library = pages, kind, pages.stash.library
        pages.data_dir.mkdir(exist_ok=True)
        self.id = getattr(self.library, f"add_{kind}")(tags=["VLM_TagMe", "Home game"])
        self.run()

    @contextmanager
    def handler(self, **options):
        path = self.pages.context().store_path
        with MediaHandler(FragileClient(self.pages.stash), path, NAMES, **options) as handler:
            handler.prepare()
            yield handler

    def run(self, threshold=0.5, **options):
        found = tuple(tag for tag, share in SURE.items() if share >= threshold)
        seen = Evidence(
            "Penalty",
            "Tag Images",
            "sandbox-vlm",
            tuple(
                TagSeen(tag, tag, threshold, judge=ModelIdentity("sandbox-vlm", "12ab"))
                for tag in TAGS
            ),
            (FrameSeen(0.0, {tag: Verdict(share > 0.5, share) for tag, share in SURE.items()}),),
        )
        evidence = {self.id: seen} if self.kind is IMAGE else {}
        names = {tag: tag for tag in TAGS}
        with self.handler(tag_list=names) as handler:
            run_id = handler.start_run("Tag Images")
            result = {self.id: ImageTagInfo({"sport": found}, {})}
            fates = handler.apply(run_id, self.kind, result, evidence=evidence, **options)
            handler.finish_run(run_id)
            return change_of(fates)

    def remove(self):
        with self.handler() as handler:
            run_id = handler.start_run("Remove VLM Tags and Markers")
            change_of(handler.remove_owned(run_id, self.kind, [self.id]))

    def undo_run(self):
        with self.handler() as handler:
            undo(handler)

    def view(self):
        return self.pages.value(self.kind.value, id=self.id)

    @property
    def states(self):
        return {one["tag"]: one["spans"][0]["state"] for one in self.view()["tags"]}

    @property
    def tags(self):
        """The tags but VLM_Tagged and VLM_TagMe."""
        state = getattr(self.library, f"{self.kind}_state")(self.id)
        return set(state.tags) - {"VLM_Tagged", "VLM_TagMe"}

    def arguments(self, *decisions):
        made = [{"kind": kind, "tag": tag, "start_s": 0, "end_s": 0} for kind, tag in decisions]
        revision = self.view()["revision"]
        return {"kind": self.kind.value, "id": self.id, "revision": revision, "decisions": made}

    def decide(self, kind, tag):
        return self.pages.value("decide", **self.arguments((kind, tag)))

    def undo(self):
        revision = self.view()["revision"]
        return self.pages.value(
            "undo_decision", kind=self.kind.value, id=self.id, revision=revision
        )


@pytest.fixture(params=[IMAGE, GALLERY])
def case(pages, request):
    return Case(pages, request.param)


@pytest.fixture
def image(pages):
    return Case(pages, IMAGE)


BOTH = {"Home game", "Foul", "Goal"}


def test_a_tag_called_wrong_goes_and_stays_off(case):
    case.decide("wrong", "Foul")
    assert (case.tags, case.states["Foul"]) == ({"Home game", "Goal"}, "wrong")
    for threshold in (0.5, 0.1):
        assert "Foul" in case.run(threshold).stays_off
        assert not case.tags & {"Foul"}
    case.decide("bring_back", "Foul")
    assert (case.tags - {"Timeout"}, case.states["Foul"]) == (BOTH, "marker")
    case.undo()
    assert (case.tags - {"Timeout"}, case.states["Foul"]) == ({"Home game", "Goal"}, "wrong")
    case.undo()
    assert (case.tags - {"Timeout"}, case.states["Foul"]) == (BOTH, "marker")


def test_a_kept_tag_stays_whatever_later_runs_find(case):
    case.decide("keep", "Foul")
    case.run(threshold=0.95)
    assert (case.tags, case.states["Foul"]) == ({"Home game", "Foul"}, "kept")
    case.remove()
    assert case.tags == {"Home game", "Foul"}
    case.undo()
    case.remove()
    assert case.tags == {"Home game"}


def test_a_tag_below_its_threshold_is_added_and_called_wrong(image):
    assert image.states["Timeout"] == "below"
    image.decide("keep", "Timeout")
    assert (image.tags, image.states["Timeout"]) == ({*BOTH, "Timeout"}, "kept")
    image.run()
    assert image.tags == {*BOTH, "Timeout"}
    image.decide("wrong", "Timeout")
    image.run(threshold=0.1)
    assert (image.tags, image.states["Timeout"]) == (BOTH, "wrong")
    image.undo()
    assert (image.tags, image.states["Timeout"]) == ({*BOTH, "Timeout"}, "kept")
    image.undo()
    assert (image.tags, image.states["Timeout"]) == (BOTH, "below")
    assert "Timeout" not in [tag.name for tag in image.library.snapshot().tags]


def test_a_persons_own_tag_is_called_wrong_and_restored(image):
    image.library.tag_image(image.id, "Timeout")
    for _ in range(2):  # the second time the journal knows the tag
        image.decide("wrong", "Timeout")
        assert (image.tags, image.states["Timeout"]) == (BOTH, "wrong")
        image.undo()
        assert (image.tags, image.states["Timeout"]) == ({*BOTH, "Timeout"}, "marker")
        image.run(threshold=0.1)
    image.remove()
    assert image.tags == {"Home game", "Timeout"}, "it is still the person's"


def test_a_persons_own_tag_that_was_kept_and_taken_off_stays_off(image):
    image.library.tag_image(image.id, "Timeout")
    image.decide("keep", "Timeout")
    image.library.untag_image(image.id, "Timeout")
    image.run(threshold=0.1)
    assert (image.tags, image.states["Timeout"]) == (BOTH, "gone")


def test_a_tag_taken_off_in_stash_is_brought_back_for_good(image):
    image.library.untag_image(image.id, "Foul")
    assert image.states["Foul"] == "gone"
    image.decide("bring_back", "Foul")
    assert (image.tags, image.states["Foul"]) == (BOTH, "kept")
    image.run(threshold=0.95)
    assert image.tags == {"Home game", "Foul"}
    image.undo()
    assert (image.tags, image.states["Foul"]) == ({"Home game"}, "gone")


def test_undoing_runs_leaves_what_was_judged(case):
    case.decide("wrong", "Goal")
    case.decide("keep", "Foul")
    case.run(threshold=0.1)
    assert case.tags == {"Home game", "Foul", "Timeout"}
    for _ in range(2):
        case.undo_run()
        assert case.tags == {"Home game", "Foul"}


def test_what_was_tagged_before_evidence_was_kept_is_judged(pages):
    case = Case(pages, GALLERY)
    assert case.states == {"Foul": "marker", "Goal": "marker"}
    case.decide("wrong", "Foul")
    assert case.states == {"Foul": "wrong", "Goal": "marker"}


def test_only_scenes_have_moments(image):
    for change in ({"kind": "adjust", "new_start_s": 1.0, "new_end_s": 2.0}, {"end_s": 4.0}):
        arguments = image.arguments(("wrong", "Foul"))
        arguments["decisions"][0] |= change
        code, message = image.pages.failure("decide", **arguments)
        assert (code, "only scenes have moments" in message) == ("bad_request", True)


def test_a_tag_that_changed_meanwhile_is_not_decided(image):
    arguments = image.arguments(("wrong", "Foul"))
    image.library.untag_image(image.id, "Goal")
    assert image.pages.failure("decide", **arguments)[0] == "changed"
    arguments = image.arguments(("keep", "Corner kick"))
    assert image.pages.failure("decide", **arguments)[0] == "changed"
    assert image.tags == {"Home game", "Foul"}


# Kills.


def killed(case, call, kind, arguments, at, after):
    """Die at the request with number ``at`` of a call. Return False if it makes fewer."""
    with case.pages.context() as context:
        client = FragileClient(case.pages.stash, at=at, after=after)
        context.__dict__["client"] = client
        try:
            call(context, parsed(kind, arguments, "call"))
        except KilledError:
            return True
        finally:
            client.close()
    return False


@pytest.mark.parametrize(
    ("kind", "tag", "after"),
    [
        ("wrong", "Foul", True),
        ("keep", "Timeout", False),
        pytest.param("wrong", "Foul", False, marks=pytest.mark.thorough),
        pytest.param("keep", "Timeout", True, marks=pytest.mark.thorough),
    ],
)
def test_a_kill_leaves_a_decision_made_or_not_made(image, kind, tag, after):
    before, decided, at = (image.tags, image.states), None, 1
    while True:
        arguments = image.arguments((kind, tag))
        went_on = not killed(image, decide, DecideArguments, arguments, at, after)
        if (image.states, image.tags) == before[::-1]:
            assert not went_on
            image.decide(kind, tag)
        decided = decided or (image.tags, image.states)
        assert (image.tags, image.states) == decided
        item = {"kind": "image", "id": image.id, "revision": image.view()["revision"]}
        killed(image, undo_decision, UndoArguments, item, at, after)
        image.view()  # completes what was begun
        if (image.tags, image.states) != before:
            image.undo()
        assert (image.tags, image.states) == before
        if went_on:
            break
        at += 1
    assert at > 3
