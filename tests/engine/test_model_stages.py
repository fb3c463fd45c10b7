"""Models of the settings as stages of a pipeline, and programs that never close their engine."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sandbox.videos import LabelledVideo
from tests.engine.engines import TAGS
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig, PipelineConfig, PipelineModelConfig
from vlm_engine.errors import ConfigError, MediaUnreadableError
from vlm_engine.models import Model
from vlm_engine.testing import Behaviour, SandboxVLM, glyphs
from vlm_engine.testing.threads import running

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def vlm() -> Iterator[SandboxVLM]:
    with running(SandboxVLM(Behaviour(slots=4, models=("m",)))) as server:
        yield server


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media") / "foul.png"
    glyphs.picture(["Foul"], width=320, height=180).save(path)
    return path


def model(vlm: SandboxVLM, **more: Any) -> ModelConfig:
    named = {"model_id": "m", "api_base_url": vlm.url.removesuffix("/v1"), "tag_list": TAGS, **more}
    return ModelConfig(
        type="vlm_model", max_batch_size=5, instance_count=3, model_return_confidence=True, **named
    )


def config(
    vlm: SandboxVLM, *stages: PipelineModelConfig, inputs: list[str], **models: ModelConfig
) -> EngineConfig:
    pipeline = PipelineConfig(inputs=inputs, output="results", version=1.0, models=list(stages))
    named = models or {"analyzer": model(vlm)}
    return EngineConfig(
        active_ai_models=[next(iter(named))], models=named, pipelines={"own": pipeline}
    )


def stage(name: str, inputs: str | list[str], outputs: str = "results") -> PipelineModelConfig:
    return PipelineModelConfig(name=name, inputs=inputs, outputs=[outputs])


async def video_by_both(
    engine: VLMEngine, clip: LabelledVideo, **call: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    result = await engine.process_video(clip.path, pipeline_name="own", **call)
    return result, await engine.process_video(clip.path, **call)


@pytest.mark.parametrize(
    ("inputs", "call"),
    [
        (["video_path", "frame_interval"], {}),
        (["video_path", "frame_interval", "threshold"], {"frame_interval": 1.0, "threshold": 0.9}),
        (["video_path"], {"return_confidence": False, "return_timestamps": False}),
        (["video_path", "vr_video", "skipped_categories"], {"vr_video": True}),
    ],
)
async def test_a_model_named_as_a_stage_gives_what_the_default_gives(vlm, clip, inputs, call):
    settings = config(vlm, stage("analyzer", ["video_path"]), inputs=inputs)

    async with VLMEngine(settings) as engine:
        result, default = await video_by_both(engine, clip, **call)
    assert result["coverage"]["frames_answered"] > 0
    assert result["video_tag_info"] == default["video_tag_info"]
    assert result["json_result"]["timespans"] == default["json_result"]["timespans"]


async def test_progress_of_a_model_as_a_stage_grows(vlm, clip):
    settings, percents = (
        config(vlm, stage("analyzer", ["video_path"]), inputs=["video_path"]),
        list[int](),
    )

    async with VLMEngine(settings) as engine:
        await engine.process_video(
            clip.path, pipeline_name="own", progress_callback=percents.append
        )
    assert len(percents) > 2
    assert percents[-1] == 100


async def test_a_stage_may_look_at_a_video_that_another_has_probed(vlm, clip):
    stages = [stage("analyzer", "probed"), stage("probe_video", "video_path", "probed")]

    async with VLMEngine(config(vlm, *stages, inputs=["video_path"])) as engine:
        result, default = await video_by_both(engine, clip)
    assert result["video_tag_info"] == default["video_tag_info"]


async def test_a_model_that_is_only_a_stage_uses_its_own_tags(vlm, clip):
    models = {
        "usual": model(vlm),
        "second": model(vlm, tag_list=["Turnover"], model_category="plays"),
    }

    async with VLMEngine(
        config(vlm, stage("second", "video_path"), inputs=["video_path"], **models)
    ) as engine:
        result, default = await video_by_both(engine, clip)
    assert list(result["video_tag_info"]["video_tags"]) == ["plays"]
    assert list(default["video_tag_info"]["video_tags"]) == ["tags"]


class Preprocessor(Model):
    """Reads the picture and hands it on in one form or another."""

    def __init__(self, form: str = "bytes") -> None:
        self.form = form

    async def process(self, inputs: Mapping[str, Any]) -> Any:
        with Image.open(inputs["image"]) as image:
            image.load()
        written = io.BytesIO()
        image.save(written, "PNG")
        palette = image.convert("P", palette=Image.Palette.ADAPTIVE)
        forms = {
            "path": inputs["image"],
            "bytes": written.getvalue(),
            "view": memoryview(written.getvalue()),
            "image": image,
        }
        return {
            **forms,
            "palette": palette,
            "array": np.asarray(image),
            "floats": np.zeros((4, 4, 3)),
        }[self.form]


@pytest.mark.parametrize("form", ["path", "bytes", "view", "image", "palette", "array"])
async def test_a_stage_of_ones_own_may_prepare_the_picture(vlm, picture, form):
    stages = [stage("preprocessor", ["image"], "prepared"), stage("analyzer", ["prepared"])]

    settings = config(vlm, *stages, inputs=["image"])
    async with VLMEngine(settings, models={"preprocessor": Preprocessor(form)}) as engine:
        result = await engine.process_image(picture, pipeline_name="own")
        default = await engine.process_image(picture)
    assert result["image_tag_info"] == default["image_tag_info"]
    assert "Foul" in str(result["image_tag_info"])


async def test_a_model_may_look_at_the_picture_itself(vlm, picture):
    content = picture.read_bytes()

    async with VLMEngine(
        config(vlm, stage("analyzer", "image"), inputs=["image", "threshold"])
    ) as engine:
        result = await engine.process_image(
            content, threshold=0.9, return_confidence=False, pipeline_name="own"
        )
        default = await engine.process_image(picture, threshold=0.9, return_confidence=False)
    assert result["image_tag_info"] == default["image_tag_info"]


async def test_an_input_that_is_no_picture_or_video_is_a_clear_error(vlm, picture, clip):
    stages = [stage("preprocessor", ["image"], "prepared"), stage("analyzer", ["prepared"])]
    async with VLMEngine(
        config(vlm, *stages, inputs=["image"]), models={"preprocessor": Preprocessor("floats")}
    ) as engine:
        with pytest.raises(MediaUnreadableError, match="stage 'analyzer': its input is no picture"):
            await engine.process_image(picture, pipeline_name="own")
    async with VLMEngine(
        config(vlm, stage("analyzer", "threshold"), inputs=["video_path", "threshold"])
    ) as engine:
        with pytest.raises(ConfigError, match="stage 'analyzer' looks at its input 'video_path'"):
            await engine.process_video(clip.path, pipeline_name="own")


PROGRAM = """
import asyncio, sys
from vlm_engine import VLMEngine
from vlm_engine.config.models import EngineConfig, ModelConfig, PipelineConfig, PipelineModelConfig

url, path, kind = sys.argv[1:]
config = EngineConfig(
    active_ai_models=["my_vlm_model"],
    models={
        "my_vlm_model": ModelConfig(
            type="vlm_model", model_id="m", api_base_url=url, tag_list=["Foul", "Turnover"],
            max_batch_size=5, instance_count=3, model_return_confidence=True,
        )
    },
    pipelines={
        "video_pipeline": PipelineConfig(
            inputs=["video_path", "frame_interval"], output="results", version=1.0,
            models=[
                PipelineModelConfig(
                    name="my_vlm_model", inputs=["video_path"], outputs=["results"]
                )
            ],
        )
    },
)
kept = []

async def main():
    engine = kept[0] if kept else VLMEngine(config)
    if kind != "local":
        kept[:] = [engine]
    await engine.initialize()
    results = await engine.process_video(path, pipeline_name="video_pipeline")
    print(results["coverage"]["frames_answered"])

if kind == "loop":
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main())
elif kind == "local loop":
    kind = "local"
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
else:
    asyncio.run(main())
    if kind == "twice":
        asyncio.run(main())
"""


@pytest.mark.parametrize(
    "kind",
    [
        "twice",
        "local loop",
        pytest.param("local", marks=pytest.mark.thorough),
        pytest.param("loop", marks=pytest.mark.thorough),
    ],
)
def test_a_program_that_never_closes_its_engine_ends_in_silence(vlm, clip, tmp_path, kind):
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    # A loop that the program itself leaves open is its own affair.
    strict = [] if "loop" in kind else ["-W", "error"]
    command = [
        sys.executable,
        *strict,
        "program.py",
        vlm.url.removesuffix("/v1"),
        str(clip.path),
        kind,
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout.split()[-1]) > 0
