from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from vlm_engine.config_models import PipelineConfig
from vlm_engine.errors import ConfigError, MediaError
from vlm_engine.models import Model
from vlm_engine.pipeline import Pipeline


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


MODELS = {"add": Add(), "split": Split(), "fail": Fail()}


def pipeline(*stages: dict[str, Any], inputs: tuple[str, ...] = ("a", "b"), output: str = "results") -> Pipeline:
    return Pipeline("demo", PipelineConfig.model_validate({"inputs": inputs, "output": output, "models": list(stages)}), MODELS)


def stage(name: str, inputs: list[str], outputs: str | list[str]) -> dict[str, Any]:
    return {"name": name, "inputs": inputs, "outputs": outputs}


def test_stages_run_when_their_inputs_exist_whatever_their_order() -> None:
    demo = pipeline(
        stage("add", ["low", "high"], "results"), stage("split", ["sum"], ["low", "high"]), stage("add", ["a", "b"], "sum")
    )
    assert asyncio.run(demo.run({"a": 1, "b": 2})) == 6


def test_an_input_may_be_the_output() -> None:
    assert asyncio.run(pipeline(stage("add", ["a"], "x"), output="b").run({"a": 1, "b": 2})) == 2


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([stage("nobody", ["a"], "results")], "there is no model 'nobody'"),
        ([stage("add", ["ghost"], "results")], "'add' needs 'ghost', which nothing produces"),
        (
            [stage("add", ["a"], "results"), stage("split", ["a"], "results")],
            "'results' is produced twice, the second time by 'split'",
        ),
        ([stage("add", ["a"], "a")], "'a' is produced twice"),
        ([stage("add", ["a"], "other")], "its output 'results' is produced by nothing"),
        ([stage("add", ["x"], "y"), stage("add", ["y"], "x"), stage("add", ["a"], "results")], "wait for each other: add, add"),
    ],
)
def test_a_pipeline_that_cannot_run_is_refused(stages: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        pipeline(*stages)
    assert "pipeline 'demo'" in str(caught.value)


def test_an_error_of_a_stage_comes_out_as_it_is() -> None:
    demo = pipeline(stage("fail", ["a"], "x"), stage("add", ["x"], "results"))
    with pytest.raises(MediaError, match="broken"):
        asyncio.run(demo.run({"a": 1, "b": 2}))


def test_a_stage_that_does_not_give_what_it_promised_is_named() -> None:
    demo = pipeline(stage("add", ["a"], ["x", "results"]))
    with pytest.raises(ConfigError, match="'add' gave no 'x'"):
        asyncio.run(demo.run({"a": 1, "b": 2}))
