"""Pipelines, checked when they are written: every value has one maker, and every stage can run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, ModelWrapValidatorHandler, field_validator, model_validator

from vlm_engine.config.base import SettingsGroup

_IN_ORDER = ("name", "inputs", "outputs")


class PipelineModelConfig(SettingsGroup):
    """One stage of a pipeline: a model by name, the values it takes and those it gives.

    The name is that of a built-in stage, of one of ``EngineConfig.models``, or of one given to
    ``VLMEngine``. With ``class``, the dotted path of a subclass of ``vlm_engine.models.Model``,
    the stage is made here, with ``options`` as its arguments.
    """

    name: str = Field(min_length=1)
    """The name of the stage."""

    inputs: tuple[str, ...] = ()
    """The values it takes. A single one needs no list."""

    outputs: tuple[str, ...] = ()
    """The values it gives. A single one needs no list."""

    class_path: str | None = Field(None, validation_alias="class")
    """The dotted path of a subclass of `vlm_engine.models.Model` that becomes this stage."""

    options: Mapping[str, Any] = Field(default_factory=dict)
    """The arguments of that class."""

    def __init__(self, *in_order: Any, **named: Any) -> None:
        if len(in_order) > len(_IN_ORDER):
            raise TypeError(f"only {', '.join(_IN_ORDER)} may be written without their names")
        super().__init__(**dict(zip(_IN_ORDER, in_order, strict=False)), **named)

    @model_validator(mode="wrap")
    @classmethod
    def _check_keys_first(cls, data: Any, make: ModelWrapValidatorHandler[Self]) -> Self:
        return make(
            cls._known(data)
        )  # what ``__init__`` cannot take, such as a number for a key, does not get there

    @field_validator("outputs", "inputs", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _options_have_a_class(self) -> Self:
        if self.options and self.class_path is None:
            raise ValueError(f"stage {self.name!r} has options but no class that could take them")
        return self


class PipelineConfig(SettingsGroup):
    """Stages that turn named inputs into one named output. A stage runs as soon as its inputs
    exist.

    Every value is an input or made by one stage, no stages wait for each other, and the output is
    made.
    """

    if TYPE_CHECKING:

        def __init__(self, **settings: Any) -> None: ...

    inputs: tuple[str, ...]
    """The values that it starts with; they are listed below."""

    output: str = "results"
    """The value that is its result."""

    short_name: str = ""
    """A name for people. It has no effect."""

    version: float = 1.0
    """A number for people. It has no effect."""

    models: tuple[PipelineModelConfig, ...] = Field(min_length=1)
    """Its stages, in any order."""

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        faults = list(_faults(self.inputs, self.models, self.output))
        if faults:
            raise ValueError("; ".join(faults))
        return self


def _faults(
    inputs: Sequence[str], stages: Sequence[PipelineModelConfig], output: str
) -> Iterator[str]:
    makers: dict[str, str] = dict.fromkeys(inputs, "an input of the pipeline")
    for stage in stages:
        for made in stage.outputs:
            if made in makers:
                yield f"{made!r} has two makers: {makers[made]} and stage {stage.name!r}"
            makers.setdefault(made, f"stage {stage.name!r}")
    for stage in stages:
        for needed in dict.fromkeys(stage.inputs):
            if needed not in makers:
                yield f"stage {stage.name!r} needs {needed!r}, which nothing makes"
    if output not in makers:
        yield f"the output {output!r} is made by nothing"
    circle = _circle(stages)
    if circle:
        yield f"stages wait for each other in a circle: {' -> '.join(circle)}"


def _circle(stages: Sequence[PipelineModelConfig]) -> list[str]:
    """Return the names of stages that wait for each other in a circle, if any do."""
    makers = {made: number for number, stage in enumerate(stages) for made in stage.outputs}
    needs = {
        number: [makers[needed] for needed in stage.inputs if needed in makers]
        for number, stage in enumerate(stages)
    }
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return [stages[number].name for number in error.args[1]]
    return []
