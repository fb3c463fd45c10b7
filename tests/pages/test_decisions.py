"""Decisions about spans: written to Stash and the journal, obeyed by every later run, undone
exactly.
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from types import SimpleNamespace

import pytest

from haven.pages.contract import DecideArguments, UndoArguments
from haven.pages.decisions import decide, undo_decision
from haven.pages.forms import parsed
from haven.stash.evidence import Evidence, FrameSeen, TagSeen
from haven.stash.handler import MediaHandler
from haven.stash.journal import Journal
from haven.stash.values import change_of
from tests.plugin.fragile import NAMES, FragileClient, KilledError, once_replied
from tests.plugin.items import SCENE, info, undo
from vlm_engine import ModelIdentity, Span, Verdict

THRESHOLD = 0.5
FOULS = [(10, 20, 0.9), (50, 60, 0.8), (90, 95, 0.3)]
GOALS = [(30, 33, 0.7)]
KINDS = ("keep", "wrong", "adjust")


class Case:
    """A scene that was tagged, and its tab in the page."""

    def __init__(self, pages, *files, scene=""):
        self.pages, self.stash = pages, pages.stash
        pages.data_dir.mkdir(exist_ok=True)
        self.scene = scene or self.stash.library.add_scene(*files, tags=["VLM_TagMe"])

    @contextmanager
    def handler(self, **options):
        path = self.pages.context().store_path
        with MediaHandler(FragileClient(self.stash), path, NAMES, **options) as handler:
            handler.prepare()
            yield handler

    def run(self, fouls=FOULS, goals=GOALS, threshold=THRESHOLD, *, bring_back=False, **options):
        found = {"Foul": fouls, "Goal": goals}
        sure = {
            tag: [(start, end) for start, end, share in spans if share >= threshold]
            for tag, spans in found.items()
        }
        seen = Evidence(
            "Final",
            "Tag Videos",
            "sandbox-vlm",
            tuple(
                TagSeen(
                    tag,
                    tag,
                    threshold,
                    tuple(Span(tag, *one) for one in spans),
                    ModelIdentity("sandbox-vlm", "12ab"),
                )
                for tag, spans in found.items()
            ),
            (FrameSeen(12.0, {"Foul": Verdict(True, 0.9)}),),
            600.0,
        )
        result = info(*(tag for tag, spans in sure.items() if spans), **sure)
        with self.handler(bring_back=bring_back) as handler:
            run_id = handler.start_run("Tag Videos")
            handler.apply(
                run_id, SCENE, {self.scene: result}, evidence={self.scene: seen}, **options
            )
            handler.finish_run(run_id)

    def undo_run(self):
        with self.handler() as handler:
            return undo(handler)

    def remove(self):
        with self.handler() as handler:
            run_id = handler.start_run("Remove VLM Tags and Markers")
            change_of(handler.remove_owned(run_id, SCENE, [self.scene]))

    def view(self):
        return self.pages.value("scene", id=self.scene)

    def spans(self, tag="Foul"):
        (one,) = [one for one in self.view()["tags"] if one["tag"] == tag]
        return [(span["start_s"], span["end_s"], span["state"]) for span in one["spans"]]

    def decision(self, kind, start_s, tag="Foul", new=None):
        (one,) = [one for one in self.view()["tags"] if one["tag"] == tag]
        (span,) = [span for span in one["spans"] if span["start_s"] == start_s]
        times = {"start_s": start_s, "end_s": span["end_s"], "marker_id": span["marker_id"]}
        new_s = {"new_start_s": new[0], "new_end_s": new[1]} if new else {}
        return {"kind": kind, "tag": tag, **times, **new_s}

    def arguments(self, kind, start_s, tag="Foul", new=None):
        if kind == "adjust" and new is None:
            new = (start_s + 5, start_s + 25)
        decisions = [self.decision(kind, start_s, tag, new)]
        return {**self.item, "revision": self.view()["revision"], "decisions": decisions}

    def decide(self, kind, start_s, tag="Foul", new=None):
        return self.pages.value("decide", **self.arguments(kind, start_s, tag, new))

    def undo(self):
        revision = self.view()["revision"]
        return self.pages.value("undo_decision", **self.item, revision=revision)

    @property
    def item(self):
        return {"kind": "scene", "id": self.scene}

    @property
    def content(self):
        """The tags but VLM_Tagged and VLM_TagMe, and the markers with their times."""
        state = self.stash.library.scene_state(self.scene)
        markers = [(one.primary_tag, one.seconds, one.end_seconds) for one in state.markers]
        return set(state.tags) - {"VLM_Tagged", "VLM_TagMe"}, sorted(markers)


@pytest.fixture
def case(pages):
    case = Case(pages)
    case.run()
    return case


BOTH = {"Foul", "Goal"}
FIRST, SECOND, GOAL = ("Foul", 10, 20), ("Foul", 50, 60), ("Goal", 30, 33)
THIRD = ("Foul", 90, 95)


def test_the_tab_shows_what_was_seen_beside_what_is_there(case):
    view = case.view()
    assert (view["title"], view["model"], view["duration_s"]) == ("Final", "sandbox-vlm", 600)
    assert view["frames"] == [{"time_s": 12, "tags": [["Foul", True, 0.9]]}]
    assert case.spans() == [(10, 20, "marker"), (50, 60, "marker"), (90, 95, "below")]
    (fouls, _) = view["tags"]
    assert [one["confidence"] for one in fouls["spans"]] == [0.9, 0.8, 0.3]
    assert not any(one["by_person"] for one in fouls["spans"])


def test_a_marker_that_a_person_took_off_or_made_is_shown(case):
    library = case.stash.library
    library.remove_marker(case.decision("keep", 10)["marker_id"])
    library.add_marker(case.scene, "Foul", 200, 210)
    states = [(10, 20, "gone"), (50, 60, "marker"), (90, 95, "below"), (200, 210, "marker")]
    assert case.spans() == states


def test_a_scene_without_evidence_says_so(pages):
    case = Case(pages)
    view = case.view()
    assert (view["looked_at"], view["tags"]) == (None, [])
    assert "No run has looked" in view["note"]
    with case.handler() as handler:
        run_id = handler.start_run("Tag Videos")
        handler.apply(run_id, SCENE, {case.scene: info("Foul", Foul=[(10, 20)])})
    assert "before evidence was kept" in case.view()["note"]
    assert case.spans() == [(10, 20, "marker")]
    case.decide("wrong", 10)
    assert (case.content, case.spans()) == ((set(), []), [(10, 20, "wrong")])


def test_a_span_called_wrong_loses_its_marker_for_good(case):
    case.decide("wrong", 50)
    assert case.spans() == [(10, 20, "marker"), (50, 60, "wrong"), (90, 95, "below")]
    for _ in range(2):
        assert case.content == (BOTH, [FIRST, GOAL])
        case.run(updating=True)
    case.run(fouls=[(10, 20, 0.9), (52, 70, 0.9)], threshold=0.2)
    assert case.content == (BOTH, [FIRST, GOAL])


def test_bringing_back_what_was_removed_obeys_judgements(case):
    case.stash.library.remove_marker(case.decision("keep", 10)["marker_id"])
    case.decide("wrong", 50)
    case.run(bring_back=True)
    assert case.content == (BOTH, [FIRST, GOAL])


def test_a_span_below_the_threshold_called_wrong_stays_off(case):
    case.decide("wrong", 90)
    case.run(threshold=0.2)
    assert case.content == (BOTH, [FIRST, SECOND, GOAL])
    assert case.spans()[-1] == (90, 95, "wrong")


def test_the_tag_goes_with_its_last_marker_and_comes_back(case):
    case.decide("wrong", 30, "Goal")
    assert case.content == ({"Foul"}, [FIRST, SECOND])
    case.run(updating=True)
    assert case.content == ({"Foul"}, [FIRST, SECOND])
    case.run(goals=[*GOALS, (300, 310, 0.9)])
    assert case.content == (BOTH, [FIRST, SECOND, ("Goal", 300, 310)])


def test_a_tag_that_a_person_put_there_stays(pages):
    case = Case(pages)
    case.stash.library.tag_scene(case.scene, "Goal")
    case.run()
    case.decide("wrong", 30, "Goal")
    assert case.content == (BOTH, [FIRST, SECOND])


def test_a_tag_without_markers_goes_with_its_last_span(pages):
    case = Case(pages)
    case.run(create_markers=False)
    assert case.content == (BOTH, [])
    case.decide("wrong", 10)
    assert case.content == (BOTH, [])
    case.decide("wrong", 50)
    assert case.content == ({"Goal"}, [])
    case.run(create_markers=False)
    assert case.content == ({"Goal"}, [])


def test_an_adjusted_span_stays_as_adjusted(case):
    marker = case.decision("keep", 50)["marker_id"]
    case.decide("adjust", 50, new=(58, 80))
    moved = [FIRST, ("Foul", 58, 80), GOAL]
    assert case.decision("keep", 58)["marker_id"] == marker
    for fouls in (FOULS, [(10, 20, 0.9), (50, 59, 0.9)], [(10, 20, 0.9), (75, 200, 0.9)], []):
        case.run(fouls=fouls, threshold=0.35)
        assert case.content[1] == (moved if fouls else moved[1:])
        assert (58, 80, "adjusted") in case.spans()
        assert "Foul" in case.content[0]


def test_a_kept_span_is_a_persons(case):
    case.decide("keep", 10)
    case.decide("keep", 90)
    assert case.spans() == [(10, 20, "kept"), (50, 60, "marker"), (90, 95, "kept")]
    case.run(fouls=[(12, 90, 0.9)], goals=[])
    assert case.content == ({"Foul"}, [FIRST, SECOND, THIRD]), "they stand for the long one"
    case.remove()
    assert case.content == ({"Foul"}, [FIRST, THIRD])


def test_undoing_and_removing_runs_leaves_what_was_judged(case):
    case.decide("wrong", 50)
    case.decide("adjust", 10, new=(5, 25))
    case.decide("keep", 90)
    judged = [("Foul", 5, 25), THIRD]
    case.run(goals=[])
    case.undo_run()
    assert case.content == (BOTH, [*judged, GOAL])
    case.undo_run()
    assert case.content == ({"Foul"}, judged)
    with case.handler() as handler:
        assert handler.last_undoable_run() is None, "a decision is no run to undo"
    case.remove()
    assert case.content == ({"Foul"}, judged)


def test_undoing_a_run_does_not_put_back_what_was_called_wrong(case):
    case.run(fouls=[(10, 20, 0.9), (50, 60, 0.3)])
    case.decide("wrong", 50)
    (fate,) = case.undo_run()[0].values()
    assert fate.kept_back == (
        "the marker 'Foul' at 0:00:50 was not put back: somebody judged what is there",
    )
    assert case.content == (BOTH, [FIRST, GOAL])


@pytest.mark.parametrize("start_s", [10, 90])
@pytest.mark.parametrize("kind", KINDS)
def test_undoing_a_decision_restores_exactly(case, kind, start_s):
    before, spans = case.stash.library.scene_state(case.scene), case.spans()
    case.decide(kind, start_s)
    changed = case.spans()
    assert changed != spans
    case.undo()
    assert (case.spans(), case.content) == (spans, (BOTH, [FIRST, SECOND, GOAL]))
    after = case.stash.library.scene_state(case.scene)
    assert after.tags == before.tags
    case.run()
    case.remove()
    assert case.content == (set(), []), "all of it is the plugin's again"


def test_a_span_called_wrong_is_brought_back_and_that_is_undone(case):
    case.decide("wrong", 30, "Goal")
    case.decide("bring_back", 30, "Goal")
    assert case.content == (BOTH, [FIRST, SECOND, GOAL])
    assert case.spans("Goal") == [(30, 33, "marker")]
    case.undo()
    assert (case.content, case.spans("Goal")) == (({"Foul"}, [FIRST, SECOND]), [(30, 33, "wrong")])
    case.undo()
    assert (case.content, case.spans("Goal")) == (
        (BOTH, [FIRST, SECOND, GOAL]),
        [(30, 33, "marker")],
    )
    case.undo_run()
    assert case.content == (set(), [])


def test_decisions_about_one_span_follow_each_other(case):
    case.decide("keep", 10)
    case.decide("adjust", 10, new=(12, 40))
    case.decide("wrong", 12)
    case.run()
    assert (case.content[1], case.spans()[0]) == ([SECOND, GOAL], (12, 40, "wrong"))
    for expected in ((12, 40, "adjusted"), (10, 20, "kept"), (10, 20, "marker")):
        case.undo()
        assert case.spans()[0] == expected
    code, message = case.pages.failure(
        "undo_decision", **case.item, revision=case.view()["revision"]
    )
    assert (code, "no decision" in message) == ("changed", True)


def test_a_persons_own_marker_is_judged_and_restored(case):
    library = case.stash.library
    own = library.add_marker(case.scene, "Foul", 200, 210, title="seen by eye", tags=["Goal"])
    before = library.scene_state(case.scene).markers
    case.decide("adjust", 200, new=(195, 210))
    assert (195, 210, "adjusted") in case.spans()
    case.undo()
    assert library.scene_state(case.scene).markers == before
    case.decide("wrong", 200)
    assert own not in [one.id for one in library.scene_state(case.scene).markers]
    case.undo()
    restored = library.scene_state(case.scene).markers[-1]
    assert (restored.title, restored.tags, restored.primary_tag) == (
        "seen by eye",
        ("Goal",),
        "Foul",
    )
    case.remove()
    assert case.content[1] == [("Foul", 200, 210)]


def test_a_persons_titled_marker_comes_back_under_its_tag(case):
    library = case.stash.library
    library.add_marker(case.scene, "Corner kick", 200, 210, title="seen by eye")
    case.run()
    arguments = case.arguments("wrong", 10)
    (marker,) = [
        one for one in library.scene_state(case.scene).markers if one.primary_tag == "Corner kick"
    ]
    stretch = {"start_s": 200, "end_s": 210, "marker_id": marker.id}
    arguments["decisions"] = [{"kind": "wrong", "tag": "Corner kick", **stretch}]
    case.pages.value("decide", **arguments)
    library.remove_tag("Corner kick")
    case.undo()
    (restored,) = [
        one for one in library.scene_state(case.scene).markers if one.title == "seen by eye"
    ]
    assert (restored.primary_tag, restored.seconds) == ("Corner kick", 200)
    assert "seen by eye" not in [tag.name for tag in library.snapshot().tags]


def test_a_moment_removed_in_stash_is_brought_back_for_good(case):
    library = case.stash.library
    library.remove_marker(case.decision("keep", 50)["marker_id"])
    assert case.spans()[1] == (50, 60, "gone")
    case.decide("bring_back", 50)
    assert (case.content, case.spans()[1]) == ((BOTH, [FIRST, SECOND, GOAL]), (50, 60, "kept"))
    for fouls in (FOULS[:1], FOULS):
        case.run(fouls=fouls)
        assert case.content == (BOTH, [FIRST, SECOND, GOAL])
    case.undo()
    assert (case.content, case.spans()[1]) == ((BOTH, [FIRST, GOAL]), (50, 60, "gone"))


def test_a_judgement_keeps_what_it_is_about(case):
    case.decide("wrong", 90)
    with closing(Journal(case.pages.context().store_path)) as journal:
        ((item, judgement),) = journal.all_judgements()
    assert (item.kind, item.id, judgement.kind) == ("scene", case.scene, "wrong")
    assert (judgement.tag.asked, judgement.start_s, judgement.end_s) == ("Foul", 90, 95)
    assert (judgement.confidence, judgement.threshold) == (0.3, THRESHOLD)
    assert (judgement.model, judgement.wording) == ("sandbox-vlm", "12ab")
    assert judgement.at_s > 0


def test_a_decision_against_an_older_revision_changes_nothing(case):
    arguments = case.arguments("wrong", 10)
    case.stash.library.remove_marker(case.decision("keep", 50)["marker_id"])
    before = case.content
    assert case.pages.failure("decide", **arguments)[0] == "changed"
    assert case.content == before
    assert case.pages.failure("decide", **{**arguments, "id": "999"})[0] == "not_found"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"end_s": 5.0}, "end_s"),
        ({"kind": "adjust"}, "new_start_s"),
        ({"new_start_s": 1.0}, "new_start_s"),
        ({"kind": "maybe"}, "kind"),
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(case, changes, field):
    arguments = case.arguments("wrong", 10)
    arguments["decisions"][0] |= changes
    code, message = case.pages.failure("decide", **arguments)
    assert (code, field in message) == ("bad_request", True)


def test_only_what_was_looked_for_is_decided(case):
    arguments = case.arguments("keep", 90)
    arguments["decisions"][0]["tag"] = "Corner kick"
    assert case.pages.failure("decide", **arguments)[0] == "changed"
    assert "Corner kick" not in [tag.name for tag in case.stash.library.snapshot().tags]


def test_several_decisions_are_carried_out_at_once(case):
    arguments = case.arguments("wrong", 10)
    arguments["decisions"] += [
        case.decision("wrong", 50),
        case.decision("keep", 90),
        case.decision("adjust", 30, "Goal", (31, 35)),
    ]
    case.pages.value("decide", **arguments)
    assert case.content == (BOTH, [THIRD, ("Goal", 31, 35)])
    for _ in range(4):
        case.undo()
    assert case.content == (BOTH, [FIRST, SECOND, GOAL])


# Kills.


def killed(case, op, arguments, at, after):
    """Die at the request with number ``at`` of a call. Return False if it makes fewer."""
    with case.pages.context() as context:
        client = FragileClient(case.stash, at=at, after=after)
        context.__dict__["client"] = client
        call = {"decide": decide, "undo_decision": undo_decision}[op]
        kind = {"decide": DecideArguments, "undo_decision": UndoArguments}[op]
        try:
            call(context, parsed(kind, arguments, "call"))
        except KilledError:
            return True
        finally:
            client.close()
    return False


DECISIONS = [("wrong", 30, "Goal"), ("adjust", 50, "Foul"), ("keep", 90, "Foul")]


def killed_before_and_after(*decisions):
    """Parameters of each decision: the one way to be killed by default, the other if thorough."""
    for number, decision in enumerate(decisions):
        for after in (False, True):
            is_default = after == bool(number % 2)
            yield pytest.param(*decision, after, marks=[] if is_default else pytest.mark.thorough)


@pytest.mark.parametrize(
    ("kind", "start_s", "tag", "after"), [*killed_before_and_after(*DECISIONS)]
)
def test_a_kill_leaves_a_decision_made_or_not_made(case, kind, start_s, tag, after):
    before, decided, at = case.content, None, 1
    made = []
    while True:
        went_on = not killed(case, "decide", case.arguments(kind, start_s, tag), at, after)
        spans = case.spans(tag)
        if case.content == before:
            assert not went_on
            made.append(False)
            case.decide(kind, start_s, tag)
        else:
            made.append(True)
        decided = decided or (case.content, case.spans(tag))
        assert not made[-1] or (case.content, spans) == decided
        case.run(updating=True)
        assert case.content == decided[0]
        revision = case.view()["revision"]
        killed(case, "undo_decision", {**case.item, "revision": revision}, at, after)
        if case.content != before:
            case.view()
        if case.content != before:
            case.undo()
        assert case.content == before
        if went_on:
            break
        at += 1
    assert made == sorted(made), "a later kill undoes nothing"
    assert at > 3


def test_the_next_task_completes_a_decision(case):
    arguments = parsed(DecideArguments, case.arguments("wrong", 10), "call")
    with case.pages.context() as context, closing(FragileClient(case.stash)) as client:
        context.__dict__["client"] = client
        once_replied(case.stash, "MarkersDestroy", SimpleNamespace(_client=client))
        with pytest.raises(KilledError):
            decide(context, arguments)
    with case.handler() as handler:
        (recovered,) = handler.recover()
    assert recovered.finished
    assert (case.content, case.spans()[0]) == ((BOTH, [SECOND, GOAL]), (10, 20, "wrong"))
