"""The pages in a real Stash with a large library."""

from __future__ import annotations

import pytest

from haven.items import ItemKind
from haven.settings.settings import TagNames
from haven.stash.evidence import Evidence, FrameSeen, TagSeen
from haven.stash.handler import MediaHandler
from sandbox.real_stash import LOCALHOST, RealStash
from tests.stash.conftest import DATA, PLUGIN, TAGS, furnish, short_video
from tests.stash.rows import Rows
from tests.ui.programs import chromium, node
from vlm_engine import Span, Verdict, VideoTagInfo


@pytest.mark.thorough
def test_each_view_shows_within_a_second_of_its_data(binary, pages, endpoint, tmp_path):
    path = chromium()
    with RealStash(binary, tmp_path) as stash:
        furnish(stash, short_video(1))
        stash.skip_news()
        stash.configure(PLUGIN, {"endpoint": endpoint.url, "tagNames": ", ".join(TAGS)})
        queue = int(stash.tag("VLM_TagMe"))
        with Rows(stash.folder / "stash.sqlite") as rows:
            groups = rows.tags(f"Group {number}" for number in range(40))
            tags = rows.tags(f"Event {number}" for number in range(1960))
            rows.parents((groups[number % 40], tag) for number, tag in enumerate(tags))
            rows.scenes(20_000, 1800.0, tags)
            rows.scenes(300, 1800.0, [queue, *tags[:2]])
            (busy,) = rows.scenes(1, 10_000.0, tags[:3])
        tag_1000_moments(stash, str(busy), [f"Event {number}" for number in range(50)])
        where = {"CHROMIUM": path, "PAGES": stash.url, "SCENE": str(busy)}
        node("--test", "scale", patience_s=900.0, **where)


def tag_1000_moments(stash, scene, tags):
    """Write a result with 20 markers of each of 50 tags, as a task does."""
    spans = {
        tag: tuple(Span(tag, at, at + 30.0, 0.8) for at in range(place, 10_000, 500))
        for place, tag in enumerate(tags)
    }
    found = VideoTagInfo(10_000.0, {"sport": tags}, {}, {"sport": spans})
    seen = Evidence(
        "Final",
        "Tag Videos",
        "sandbox-vlm",
        tuple(TagSeen(tag, tag, 0.5, spans[tag]) for tag in tags),
        tuple(
            FrameSeen(at, {tag: Verdict(at % 7 == 0, 0.5) for tag in tags[:20]})
            for at in range(0, 10_000, 5)
        ),
        10_000.0,
    )
    store = stash.folder / DATA / "haven.sqlite3"
    store.parent.mkdir(exist_ok=True)
    with MediaHandler({"Host": LOCALHOST, "Port": stash.port}, store, TagNames()) as handler:
        handler.prepare()
        run = handler.start_run("Tag Videos")
        handler.apply(run, ItemKind.SCENE, {scene: found}, evidence={scene: seen})
        handler.finish_run(run)
