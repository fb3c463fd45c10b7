"""Named stages with inputs and outputs. A stage runs as soon as its inputs exist."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from vlm_engine.config.models import PipelineConfig, PipelineModelConfig
from vlm_engine.errors import ConfigError
from vlm_engine.tasks import gather_or_cancel


class Stage(Protocol):
    """What a pipeline asks of its stages; ``vlm_engine.models.Model`` is one."""

    @property
    def needs(self) -> Sequence[str]:
        """The values that must be among its inputs."""

    @property
    def takes(self) -> Sequence[str]:
        """The values of the call that it gets besides its inputs."""

    async def process(self, inputs: Mapping[str, Any]) -> Any:
        """Turns the stage's inputs, by name, into its output, or a mapping of its outputs."""


class Pipeline:
    """One pipeline, ready to run. Its configuration is sound in itself; here each stage finds its model.

    Raises ``ConfigError`` that names the stage at fault.
    """

    def __init__(self, name: str, config: PipelineConfig, models: Mapping[str, Stage]) -> None:
        self._name = name
        self._config = config
        self._models = models
        for stage in config.models:
            if stage.name not in models:
                raise self._fault(
                    f"there is no model {stage.name!r}; there are: {', '.join(sorted(models))}"
                )
            for needed in models[stage.name].needs:
                if needed not in stage.inputs:
                    raise self._fault(
                        f"stage {stage.name!r} works on {needed!r}, which is not among its inputs"
                    )

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the values ``run`` takes."""
        return self._config.inputs

    def _fault(self, what: str) -> ConfigError:
        return ConfigError(f"pipeline {self._name!r}: {what}")

    async def run(self, values: Mapping[str, Any]) -> Any:
        """The pipeline's output. ``values`` are those of the call: one for every input, and perhaps more.

        An error of a stage is raised as it is.
        """
        made = {
            name: asyncio.get_running_loop().create_future()
            for stage in self._config.models
            for name in stage.outputs
        }
        given = {name: values[name] for name in self._config.inputs}
        await gather_or_cancel(
            [self._run_stage(stage, values, given, made) for stage in self._config.models]
        )
        return (
            given[self._config.output]
            if self._config.output in given
            else made[self._config.output].result()
        )

    async def _run_stage(
        self,
        stage: PipelineModelConfig,
        values: Mapping[str, Any],
        given: Mapping[str, Any],
        made: Mapping[str, Any],
    ) -> None:
        model = self._models[stage.name]
        inputs = {name: values[name] for name in model.takes if name in values}
        inputs |= {
            name: given[name] if name in given else await made[name] for name in stage.inputs
        }
        result = await model.process(inputs)
        if len(stage.outputs) == 1:
            made[stage.outputs[0]].set_result(result)
            return
        for name in stage.outputs:
            if not isinstance(result, Mapping) or name not in result:
                raise self._fault(
                    f"stage {stage.name!r} gave no {name!r}; a stage with several outputs returns a mapping of them"
                )
            made[name].set_result(result[name])
