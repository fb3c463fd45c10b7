"""The pages in a real Stash with a large library."""

from __future__ import annotations

import pytest

from sandbox.real_stash import RealStash
from tests.stash.conftest import PLUGIN, TAGS, furnish, short_video
from tests.stash.rows import Rows
from tests.ui.programs import chromium, node


@pytest.mark.thorough
def test_each_view_shows_within_a_second_of_its_data(binary, pages, endpoint, tmp_path):
    path = chromium()
    with RealStash(binary, tmp_path) as stash:
        furnish(stash, short_video(1))
        stash.configure(PLUGIN, {"endpoint": endpoint.url, "tagNames": ", ".join(TAGS)})
        queue, tagged, ours = (int(stash.tag(one)) for one in ("VLM_TagMe", "VLM_Tagged", "VLM"))
        with Rows(stash.folder / "stash.sqlite") as rows:
            groups = rows.tags(f"Group {number}" for number in range(40))
            tags = rows.tags(f"Event {number}" for number in range(1960))
            rows.parents((groups[number % 40], tag) for number, tag in enumerate(tags))
            rows.scenes(20_000, 1800.0, tags)
            rows.scenes(300, 1800.0, [queue, *tags[:2]])
            (busy,) = rows.scenes(1, 10_000.0, [tagged, *tags[:2]])
            rows.markers(busy, tags[:51], ours, 5_000, 2.0)
            rows.images(300)
        node("--test", "scale", CHROMIUM=path, PAGES=stash.url, SCENE=str(busy))
