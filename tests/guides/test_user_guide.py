"""docs/USER_GUIDE.md is true: every block runs, and every table and result is complete."""

from __future__ import annotations

import inspect
import json
import logging
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sandbox.snippets import run_cells, run_program, snippets, write_files
from sandbox.videos import VideoSpec, generate
from tools.engine_options import CALLS, GROUPS, described_arguments
from vlm_engine import VLMEngine
from vlm_engine.models.stages import IMAGE_VALUES, VIDEO_VALUES
from vlm_engine.pipeline import IMAGE_PIPELINE, VIDEO_PIPELINE
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.testing.threads import running

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "USER_GUIDE.md"
TEXT = PAGE.read_text(encoding="utf-8")
TAGS = ("Foul", "Turnover", "Goal", "Timeout")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the media that the page speaks of."""
    folder = tmp_path_factory.mktemp("media")
    spec = VideoSpec(
        duration_s=40, width=320, height=180, tags=TAGS, seed=4, shot_median_s=6, gop_s=2
    )
    generate(spec, folder / "game.mp4")
    shutil.copyfile(folder / "game.mp4", folder / "training.mp4")
    glyphs.picture(["Foul"], width=320, height=180).save(folder / "still.jpg")
    with zipfile.ZipFile(folder / "season.zip", "w") as season:
        season.write(folder / "still.jpg", "finals/still.jpg")
    return folder


@pytest.fixture(scope="module")
def addresses() -> Iterator[Mapping[str, str]]:
    """The addresses that the page prints, and those at which somebody answers."""
    ports = ("1234", "7045", "7046")
    with ExitStack() as servers:
        serve = Behaviour(models=("qwen3-vl-8b-instruct",), slots=8)
        urls = [
            servers.enter_context(running(SandboxVLM(serve))).url.removesuffix("/v1") for _ in ports
        ]
        yield {f"http://localhost:{port}": url for port, url in zip(ports, urls, strict=True)}


@pytest.fixture
def place(media: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in the folder with the media, from where modules may be imported, too."""
    monkeypatch.chdir(media)
    monkeypatch.syspath_prepend(media)
    level = logging.getLogger("vlm_engine").level
    yield media
    logging.getLogger("vlm_engine").setLevel(level)
    sys.modules.pop("court", None)


def test_the_first_program_runs_as_printed(place, addresses, capsys):
    (program,) = [block for block in snippets(PAGE, "python") if block.is_program]
    run_program(program.at(addresses))
    assert re.search(r"^Foul: \d+\.\d s to \d+\.\d s$", capsys.readouterr().out, re.MULTILINE)


@pytest.fixture(scope="module")
def left() -> dict[str, Any]:
    """The names that the page's cells leave."""
    return {}


async def test_every_other_block_runs_from_top_to_bottom(
    place,
    addresses,
    left,
    capsys,
):
    blocks = [
        block.at(addresses) for block in snippets(PAGE, "python", "yaml") if not block.is_program
    ]
    cells = write_files(blocks, place)

    try:
        await run_cells(cells, left)
    finally:
        if "engine" in left:
            await left["engine"].aclose()
    assert "cannot use this file: no such game.mp4" in capsys.readouterr().out
    assert left["by_path"]["image_tag_info"] == left["by_bytes"]["image_tag_info"]
    assert left["again"]["coverage"]["calls"] == 0


def shape(value: Any) -> Any:
    """Return the keys of a result, whatever the tags and the numbers."""
    if isinstance(value, Mapping):
        of_tags = [each for key, each in value.items() if key in {*TAGS, "Personal foul"}]
        return (
            {"<tag>": shape(of_tags[0])}
            if of_tags
            else {key: shape(each) for key, each in value.items()}
        )
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    return type(value)


def test_the_results_that_are_shown_have_the_shape_of_real_ones(left):
    video, image = (json.loads(block.text) for block in snippets(PAGE, "json"))
    assert shape(video) == shape({**left["result"], "json_result": seen_in(left["result"])})
    assert shape(image) == shape(left["by_path"])


def seen_in(result: Mapping[str, Any]) -> Any:
    """Return the ``json_result`` with the observations of the tag that the page shows."""
    kept = json.loads(json.dumps(result["json_result"]))
    for seen_of_tag in kept["metadata"]["seen"].values():
        seen_of_tag["observations"] = [
            seen for seen in seen_of_tag["observations"] if "Foul" in seen["verdicts"]
        ]
    return kept


def test_every_group_of_settings_has_its_table():
    for name in GROUPS:
        assert f"\n### {name}\n" in TEXT, name
        assert f"<!-- options {name}: made by make docs -->" in TEXT, name


@pytest.mark.parametrize("name", GROUPS)
def test_every_setting_is_described(name):
    texts = GROUPS[name].descriptions()
    bare = [one for one in GROUPS[name].model_fields if not texts.get(one, "").strip()]
    assert not bare, f"say below each of these settings of {name} what it does: {bare}"


@pytest.mark.parametrize("name", CALLS)
def test_every_argument_is_described(name):
    call = getattr(VLMEngine, name)
    assert set(described_arguments(call)) == set(inspect.signature(call).parameters) - {"self"}
    assert f"<!-- arguments {name}: made by make docs -->" in TEXT


def names_in(row: str) -> set[str]:
    """Return the code in the second column of a table's row."""
    cells = re.search(rf"^\| {row} \| (.*) \|", TEXT, re.MULTILINE)
    assert cells, row
    return set(re.findall(r"`(\w+)`", cells[1].split(" | ")[0]))


def test_the_values_of_pipelines_are_all_listed():
    assert names_in("videos") == set(VIDEO_VALUES)
    assert names_in("pictures") == set(IMAGE_VALUES)


@pytest.mark.parametrize(
    "stage", [*VIDEO_PIPELINE.models, *IMAGE_PIPELINE.models], ids=lambda stage: stage.name
)
def test_the_built_in_stages_take_what_the_page_says(stage):
    made = {"findings", "video"}
    assert (
        names_in(f"`{stage.name}`") - {"VideoInfo", "VideoResult"} - made
        == set(stage.inputs) - made
    )


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ["USER_GUIDE.md", "API.md", "MULTIPLEXER_INTEGRATION.md"])
def test_links_to_headings_lead_somewhere(page):
    path = ROOT / "docs" / page
    for target, anchor in re.findall(
        r"\]\(([\w./-]*)#([\w-]+)\)", path.read_text(encoding="utf-8")
    ):
        assert anchor in anchors(path.parent / target if target else path), f"{target}#{anchor}"
