from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from vlm_engine.config.models import EngineConfig, PipelineConfig, PipelineModelConfig, parse
from vlm_engine.errors import ConfigError, MediaError
from vlm_engine.models import Model
from vlm_engine.pipeline import IMAGE_PIPELINE, VIDEO_PIPELINE, Pipeline, all_pipelines


class Add(Model):
    async def process(self, inputs: Mapping[str, Any]) -> Any:
        return sum(inputs.values())


class Split(Model):
    async def process(self, inputs: Mapping[str, Any]) -> Any:
        (value,) = inputs.values()
        return {"low": value - 1, "high": value + 1}


class Fail(Model):
    async def process(self, inputs: Mapping[str, Any]) -> Any:
        raise MediaError("game.mp4: broken")


class Replay(Model):
    needs = ("video",)

    async def process(self, inputs: Mapping[str, Any]) -> Any:
        return inputs["video"]


class Meet(Model):
    """Ends only when ``stages`` of its kind run at once."""

    def __init__(self, stages: int) -> None:
        self._all_here = asyncio.Barrier(stages)

    async def process(self, inputs: Mapping[str, Any]) -> Any:
        async with asyncio.timeout(10):
            await self._all_here.wait()
        return 1


MODELS = {"add": Add(), "split": Split(), "fail": Fail(), "replay": Replay()}
CHAIN = [
    {"name": "add", "inputs": ["low", "high"], "outputs": "results"},
    {"name": "split", "inputs": ["sum"], "outputs": ["low", "high"]},
    {"name": "add", "inputs": ["a", "b"], "outputs": "sum"},
]


def config(
    *stages: dict[str, Any], inputs: tuple[str, ...] = ("a", "b"), output: str = "results"
) -> PipelineConfig:
    return parse(
        PipelineConfig,
        {"inputs": inputs, "output": output, "models": list(stages)},
        "pipelines.demo",
    )


def pipeline(*stages: dict[str, Any], **more: Any) -> Pipeline:
    return Pipeline("demo", config(*stages, **more), MODELS)


def stage(name: str, inputs: list[str], outputs: str | list[str], **more: Any) -> dict[str, Any]:
    return {"name": name, "inputs": inputs, "outputs": outputs, **more}


async def test_stages_run_when_their_inputs_exist_whatever_their_order():
    assert await pipeline(*CHAIN).run({"a": 1, "b": 2}) == 6


async def test_stages_that_do_not_need_each_other_run_at_once():
    parallel = config(
        stage("meet", ["a"], "x"), stage("meet", ["b"], "y"), stage("add", ["x", "y"], "results")
    )

    demo = Pipeline("demo", parallel, {"meet": Meet(2), "add": Add()})
    assert await demo.run({"a": 0, "b": 0}) == 2


async def test_an_input_may_be_the_output():
    assert await pipeline(stage("add", ["a"], "x"), output="b").run({"a": 1, "b": 2}) == 2


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([stage("add", ["ghost"], "results")], "stage 'add' needs 'ghost', which nothing makes"),
        (
            [stage("add", ["a"], "results"), stage("split", ["a"], "results")],
            "'results' has two makers: stage 'add' and stage 'split'",
        ),
        (
            [stage("add", ["b"], ["a", "results"])],
            "'a' has two makers: an input of the pipeline and stage 'add'",
        ),
        ([stage("add", ["a"], "other")], "the output 'results' is made by nothing"),
        (
            [
                stage("first", ["third", "a"], "first"),
                stage("second", ["first"], "second"),
                stage("third", ["second"], "third"),
                stage("last", ["third"], "results"),
            ],
            "stages wait for each other in a circle: first -> second -> third -> first",
        ),
        ([stage("add", ["results"], "results")], "in a circle: add -> add"),
        (
            [stage("add", ["a"], "results", options={"twice": True})],
            "stage 'add' has options but no class",
        ),
    ],
)
def test_a_pipeline_that_cannot_run_is_refused(stages, message):
    with pytest.raises(ConfigError) as caught:
        config(*stages)
    assert "pipelines.demo" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            [stage("nobody", ["a"], "results")],
            "there is no model 'nobody'; there are: add, fail, replay, split",
        ),
        (
            [stage("replay", ["a"], "results")],
            "stage 'replay' works on 'video', which is not among its inputs",
        ),
    ],
)
def test_a_stage_without_its_model_or_its_input_is_named(stages, message):
    with pytest.raises(ConfigError, match=message) as caught:
        pipeline(*stages)
    assert "pipeline 'demo'" in str(caught.value)


async def test_an_error_of_a_stage_comes_out_as_it_is():
    demo = pipeline(stage("fail", ["a"], "x"), stage("add", ["x"], "results"))
    with pytest.raises(MediaError, match="broken"):
        await demo.run({"a": 1, "b": 2})


async def test_a_stage_that_does_not_give_what_it_promised_is_named():
    demo = pipeline(stage("add", ["a"], ["x", "results"]))
    with pytest.raises(ConfigError, match="'add' gave no 'x'"):
        await demo.run({"a": 1, "b": 2})


def test_a_stage_may_be_written_by_place_by_name_or_as_a_dict():
    by_place = PipelineModelConfig("add", ["a"], "results")
    assert by_place == PipelineModelConfig(name="add", inputs=["a"], outputs=["results"])
    assert PipelineConfig(
        inputs=["a"], output="results", version=1.0, models=[by_place]
    ).models == (
        PipelineConfig.model_validate(
            {"inputs": ["a"], "models": [{"name": "add", "inputs": "a", "outputs": "results"}]}
        ).models
    )


def test_the_built_in_pipelines_are_among_all():
    assert all_pipelines({}) == {"video": VIDEO_PIPELINE, "image": IMAGE_PIPELINE}


def test_a_pipeline_for_an_older_engine_becomes_the_built_in_one():
    inputs = "video_path return_timestamps time_interval threshold vr_video".split()
    older = config(stage("dynamic_video_ai", inputs, "results"), inputs=tuple(inputs))
    assert (
        all_pipelines({"video_pipeline_dynamic": older})["video_pipeline_dynamic"] is VIDEO_PIPELINE
    )


def test_an_input_that_nobody_gives_is_named():
    scores = config(stage("add", ["score"], "results"), inputs=("score",))
    with pytest.raises(
        ConfigError,
        match="pipeline 'demo': nobody gives its input 'score'; for videos there are: video_path",
    ):
        all_pipelines({"demo": scores})


# Files.

WRITTEN = """
inputs: [a, b]
models:
  - {name: add, inputs: [a, b], outputs: sum}
  - {name: split, inputs: sum, outputs: [low, high]}
  - {name: add, inputs: [low, high], outputs: results}
"""


async def test_a_pipeline_from_a_file(tmp_path):
    path = tmp_path / "demo.yaml"
    path.write_text(WRITTEN, encoding="utf-8")
    demo = Pipeline("demo", PipelineConfig.from_yaml(path), MODELS)
    assert await demo.run({"a": 1, "b": 2}) == 6


def test_a_configuration_file_may_name_a_pipeline_file(tmp_path):
    (tmp_path / "demo.yaml").write_text(
        WRITTEN.replace("a, b", "video_path, threshold"), encoding="utf-8"
    )
    (tmp_path / "engine.yaml").write_text(
        "models: {vlm: {api_base_url: 'http://localhost:1234', tag_list: [Foul, Turnover]}}\n"
        "pipelines: {demo: demo.yaml}\n",
        encoding="utf-8",
    )
    engine = EngineConfig.from_yaml(tmp_path / "engine.yaml")
    assert engine.models["vlm"].tag_list == ("Foul", "Turnover")
    assert engine.pipelines["demo"].inputs == ("video_path", "threshold")


@pytest.mark.parametrize(
    ("name", "written", "message"),
    [
        ("demo.yml", WRITTEN, "demo.yml: the name of such a file ends in .yaml"),
        ("demo.yaml", None, "demo.yaml: No such file"),
        ("demo.yaml", "inputs: [a", "demo.yaml: not YAML: .*line 1"),
        (
            "demo.yaml",
            f"inputs: [a]\n{WRITTEN}",
            r"demo.yaml: 'inputs' is written twice, in lines 1 and \d+",
        ),
        ("demo.yaml", f"version: {'9' * 5000}", "demo.yaml: a value in it cannot be read: "),
        ("demo.yaml", "inputs: a", "demo.yaml: inputs: .*\n.*demo.yaml: models: Field required"),
        (
            "demo.yaml",
            WRITTEN.replace("inputs: sum", "inputs: summ"),
            "demo.yaml: stage 'split' needs 'summ'",
        ),
        (
            "demo.yaml",
            WRITTEN.replace("name: split", "nam: split"),
            r"demo.yaml: models\[1\]: unknown key 'nam'; did you mean 'name'",
        ),
        (
            "demo.yaml",
            WRITTEN.replace("{name: split", "{~: 1, name: split"),
            r"demo.yaml: models\[1\]: unknown key 'None'",
        ),
        ("demo.yaml", "", "demo.yaml: "),
    ],
)
def test_a_faulty_file_is_named_with_every_fault(tmp_path, name, written, message):
    if written is not None:
        (tmp_path / name).write_text(written, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        PipelineConfig.from_yaml(tmp_path / name)
