"""Stages that users write, given to the engine or named in its settings; and the ready-made ones."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.engine.engines import config as config_of
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig, PipelineConfig
from vlm_engine.errors import ConfigError
from vlm_engine.models import DropTags, FilterCategories, MergeTags, Model, RenameTags
from vlm_engine.types import (
    Coverage,
    Findings,
    ImageResult,
    ImageTagInfo,
    Span,
    VideoInfo,
    VideoResult,
    VideoTagInfo,
)

VLM = {"api_base_url": "http://localhost:9", "tag_list": ["Foul"]}
PATH = PipelineConfig.model_validate(
    {
        "inputs": ["video_path"],
        "models": [{"name": "shout", "inputs": "video_path", "outputs": "results"}],
    }
)
STAGES = """
from vlm_engine.models import Model

class Shout(Model):
    def __init__(self, ending="!", times=1):
        self.ending = ending * times

    async def process(self, inputs):
        (value,) = inputs.values()
        return {"said": str(value) + self.ending}

class Whisper:
    pass
"""


class Shout(Model):
    def __init__(self, ending: str = "!") -> None:
        self.ending = ending
        self.closed = 0

    async def process(self, inputs: Mapping[str, Any]) -> Any:
        return {"said": f"{inputs['video_path']}{self.ending}"}

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with stages."""
    (tmp_path / "court_stages.py").write_text(STAGES, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "court_stages", raising=False)
    return "court_stages"


def config(
    *, models: Mapping[str, Any] | None = None, pipeline: PipelineConfig = PATH
) -> EngineConfig:
    return config_of({"vlm": VLM, **(models or {})}, pipelines={"shouting": pipeline})


async def said(settings: EngineConfig, **given: Any) -> Any:
    async with VLMEngine(settings, **given) as engine:
        return (await engine.process_video("game.mp4", pipeline_name="shouting"))["said"]


def with_class(path: str, **options: Any) -> dict[str, Any]:
    return {"shout": {"type": "python", "class": path, "options": options}}


async def test_a_stage_given_as_an_object_is_closed_with_the_engine():
    stage = Shout("?")
    assert await said(config(), models={"shout": stage}) == "game.mp4?"
    assert stage.closed == 1


async def test_a_stage_given_as_a_class_gets_the_options_of_its_model():
    assert await said(config(), models={"shout": Shout}) == "game.mp4!"
    options = {"shout": {"type": "python", "options": {"ending": "..."}}}
    assert await said(config(models=options), models={"shout": Shout}) == "game.mp4..."


async def test_a_stage_named_by_its_dotted_path(stages):
    assert await said(config(models=with_class(f"{stages}.Shout", times=3))) == "game.mp4!!!"
    as_object = ModelConfig(class_path=f"{stages}.Shout")
    assert as_object.type == "python"
    assert await said(config(models={"shout": as_object})) == "game.mp4!"


async def test_a_class_named_in_the_pipeline_itself(stages, tmp_path):
    path = tmp_path / "shouting.yaml"
    stage = f"{{name: shout, class: {stages}.Shout, options: {{ending: '?!'}}, "
    path.write_text(
        f"inputs: [video_path]\nmodels:\n  - {stage}inputs: video_path, outputs: results}}\n",
        encoding="utf-8",
    )
    assert await said(config(pipeline=PipelineConfig.from_yaml(path))) == "game.mp4?!"


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        (
            "court_stages.Sing",
            {},
            "models.shout: class 'court_stages.Sing' cannot be imported: .*no attribute 'Sing'",
        ),
        (
            "no_such_module.Shout",
            {},
            "class 'no_such_module.Shout' cannot be imported: No module named",
        ),
        (
            "court_stages.Whisper",
            {},
            "'court_stages.Whisper' is not the dotted path of a subclass of "
            "vlm_engine.models.Model",
        ),
        ("Shout", {}, "'Shout' is not the dotted path"),
        (
            "court_stages.Shout",
            {"volume": 9},
            "models.shout: Shout does not take these options: .*'volume'",
        ),
        (
            "vlm_engine.models.DropTags",
            {"tags": "Foul"},
            "models.shout: tags: write a list of names",
        ),
    ],
)
@pytest.mark.usefixtures("stages")
async def test_a_class_that_cannot_be_used_is_named(path, options, message):
    with pytest.raises(ConfigError, match=message):
        await said(config(models=with_class(path, **options)))


async def test_two_stages_of_one_name_are_refused(stages):
    stage = {
        "name": "shout",
        "class": f"{stages}.Shout",
        "inputs": "video_path",
        "outputs": "results",
    }
    other = PipelineConfig.model_validate(
        {"inputs": ["video_path"], "models": [{**stage, "options": {"times": 2}}]}
    )
    with pytest.raises(
        ConfigError, match=r"pipelines.shouting, stage 'shout': there is another stage 'shout'"
    ):
        await said(config(models=with_class(f"{stages}.Shout"), pipeline=other))
    with pytest.raises(ConfigError, match="a model 'shout' is given to the engine, too"):
        await said(config(pipeline=other), models={"shout": Shout})


def test_a_model_with_a_class_is_of_type_python():
    with pytest.raises(
        ConfigError, match=r"models.shout: a model with a class is of type python, not vlm_model"
    ):
        config(models={"shout": {"type": "vlm_model", "class": "court_stages.Shout"}})


# Ready-made.


def spans(
    tag: str, *bounds: tuple[float, float], confidence: float | None = 0.8
) -> tuple[Span, ...]:
    return tuple(Span(tag, start_s, end_s, confidence) for start_s, end_s in bounds)


PLAYS = {
    "Foul": spans("Foul", (0, 4), (10, 12)),
    "Turnover": spans("Turnover", (3, 6)),
    "Goal": spans("Goal", (20, 21)),
}
BREAKS = {"Timeout": spans("Timeout", (30, 40)), "Foul": spans("Foul", (50, 51))}
INFO = VideoInfo("game.mp4", "sha", 60.0, 60.0, 320, 180, 25.0, "h264")


def video() -> VideoResult:
    by_category = {"plays": PLAYS, "breaks": BREAKS}
    info = VideoTagInfo.of(60.0, by_category)
    findings = tuple(
        Findings(category, tuple(span for each in tags.values() for span in each), ())
        for category, tags in by_category.items()
    )
    return VideoResult(INFO, info, findings, Coverage())


def picture() -> ImageResult:
    confidences = {
        "plays": {"Foul": 0.6, "Turnover": 0.9, "Goal": None},
        "breaks": {"Timeout": 0.7},
    }
    return ImageResult(ImageTagInfo.of(confidences), Coverage())


async def test_categories_are_kept_or_dropped():
    for stage in (FilterCategories(keep=["plays"]), FilterCategories(drop=["breaks"])):
        kept = await stage.process({"whatever": video()})
        assert (
            list(kept.info.tags) == list(kept.info.totals_s) == list(kept.info.spans) == ["plays"]
        )
        assert [found.category for found in kept.findings] == ["plays"]
        assert list((await stage.process({"whatever": picture()})).info.tags) == ["plays"]


async def test_a_tag_gets_another_name_in_one_category_or_in_all():
    everywhere = (await RenameTags({"Foul": "Personal foul"}).process({"whatever": video()})).info
    assert everywhere.tags == {
        "plays": ("Personal foul", "Turnover", "Goal"),
        "breaks": ("Timeout", "Personal foul"),
    }
    assert {span.tag for span in everywhere.spans["plays"]["Personal foul"]} == {"Personal foul"}
    assert (
        await RenameTags({"Foul": "Personal foul"}, category="plays").process({"whatever": video()})
    ).info.tags["breaks"] == ("Timeout", "Foul")


async def test_tags_become_one_with_their_spans_joined():
    result = await MergeTags(["Foul", "Turnover"], into="Stoppage").process({"whatever": video()})
    stoppage = result.info.spans["plays"]["Stoppage"]
    assert [(span.start_s, span.end_s) for span in stoppage] == [(0, 6), (10, 12)]
    assert result.info.totals_s["plays"] == {"Stoppage": 8, "Goal": 1}
    assert [(span.tag, span.start_s) for span in result.findings[0].spans] == [
        ("Stoppage", 0),
        ("Stoppage", 10),
        ("Goal", 20),
    ]
    assert (
        await MergeTags(["Foul", "Turnover"], into="Stoppage").process({"whatever": picture()})
    ).info.confidences["plays"] == {
        "Stoppage": 0.9,
        "Goal": None,
    }


async def test_tags_are_dropped():
    result = await DropTags(["Foul"], category="plays").process({"whatever": video()})
    assert result.info.tags == {"plays": ("Turnover", "Goal"), "breaks": ("Timeout", "Foul")}
    assert {span.tag for span in result.findings[0].spans} == {"Turnover", "Goal"}
    assert (await DropTags(["Foul", "Goal"]).process({"whatever": picture()})).info.tags[
        "plays"
    ] == ("Turnover",)


async def test_anything_but_a_result_is_refused():
    with pytest.raises(
        ConfigError,
        match=r"DropTags takes one VideoResult or ImageResult; among its inputs \(whatever\)",
    ):
        (await DropTags(["Foul"]).process({"whatever": "game.mp4"}))
