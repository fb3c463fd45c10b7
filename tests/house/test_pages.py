"""The pages about the command line, endpoints, prompts and trouble are true."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from graphql import parse as parse_graphql
from graphql import validate
from PIL import Image

from haven.settings.settings import Settings
from haven.tasks.command_line import program
from sandbox.stash_server.resolvers import schema
from vlm_engine.checkup.endpoint import check_endpoint
from vlm_engine.checkup.values import section_lines
from vlm_engine.cli.arguments import parsed, parsers
from vlm_engine.config import templates
from vlm_engine.config.models import EndpointConfig, EngineConfig, ModelConfig, parse
from vlm_engine.testing import Behaviour, Profile, SandboxVLM, glyphs

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ("LM Studio", "Ollama", "llama.cpp", "vLLM", "SGLang", "LiteLLM proxy", "Cloud services")
NO_PYTHON = (
    "9009",
    "fork/exec",
    "executable file not found",
    "Microsoft Store",
    "Docker",
    "Synology",
    "Troubleshooting Mode",
    "needs Python 3.11 or later",
    "Python Executable Path",
)


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page(name), re.DOTALL)


def test_the_command_line_page_shows_a_valid_configuration():
    (written,) = blocks("command-line.md", "yaml")
    config = parse(EngineConfig, yaml.safe_load(written), "")
    labels = [endpoint.label for endpoint in config.models["vlm"].endpoints()]
    assert labels == ["gaming PC", "cloud"]
    assert config.category_config["tags"]["Foul"].renamed == "Personal foul"
    (lines,) = blocks("command-line.md", "bash")
    (line,) = [line for line in lines.splitlines() if line.startswith("vlm-engine ")]
    assert parsers()[0].parse_args(shlex.split(line)[1:]).paths == [Path("season/")]


def test_the_command_line_page_draws_a_tag(tmp_path):
    (program,) = blocks("command-line.md", "python")
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    with Image.open(tmp_path / "foul.jpg") as picture:
        assert glyphs.read(picture).codes == {glyphs.code("Foul")}


def test_the_command_line_page_shows_a_whole_report():
    (report,) = [
        block for block in blocks("command-line.md", "text") if block.startswith("gaming PC")
    ]
    behaviour = Behaviour(
        profile=Profile.LM_STUDIO, models=("qwen3-vl-8b-instruct",), context_tokens=8192
    )

    async def checked():
        async with SandboxVLM(behaviour) as vlm:
            endpoint = EndpointConfig(base_url=vlm.url, name="gaming PC", max_concurrent=4)
            return await check_endpoint(
                endpoint, ModelConfig(tag_list=["Foul", "Goal", "Turnover"])
            )

    real = section_lines(asyncio.run(checked()).section)[1:]
    shown = report.splitlines()[1:]
    assert [line.split(":")[0].split(maxsplit=1)[1] for line in shown] == [
        line.split(":")[0].split(maxsplit=1)[1] for line in real
    ]
    assert shown[:7] == real[:7]


@pytest.mark.parametrize(
    ("name", "written"),
    [(name, each) for name in ("endpoints.md", "prompts.md") for each in blocks(name, "yaml")],
)
def test_every_example_of_settings_is_taken(name, written, tmp_path, monkeypatch):
    for variable in re.findall(r"api_key_env: (\w+)", written):
        monkeypatch.setenv(variable, "a-key-of-some-length")
    (tmp_path / "haven_vlm_config.local.yaml").write_text(written, encoding="utf-8")
    model = Settings.load(folder=tmp_path).engine.models["vlm"]
    if name == "endpoints.md":
        assert len(model.endpoints()) == written.count("base_url")
        assert all(each.name and each.base_url.endswith("/v1") for each in model.endpoints())
    else:
        changed = model.tag_descriptions or model.synonyms or model.prompt
        assert changed or model.frames_per_question == 4


def test_the_endpoints_page_has_every_server_and_a_command():
    text = page("endpoints.md")
    assert {*SERVERS} <= {*re.findall(r"^## (.*)$", text, re.MULTILINE)}
    assert all(profile in text for profile in set(Profile) - {Profile.PLAIN})
    commands = blocks("endpoints.md", "bash")
    (line,) = [block for block in commands if "haven_vlm_connector.py" in block]
    given = parsed(program(Path("answers.sqlite")), shlex.split(line)[2:])
    assert [each.base_url for each in given.endpoint] == ["http://localhost:1234/v1"]


def test_the_prompts_page_shows_the_built_in_texts():
    (system,) = blocks("prompts.md", "text")
    assert system.strip() == templates.SYSTEM
    assert f"`{templates.USER}`" in page("prompts.md")


def test_troubleshooting_begins_with_a_missing_python():
    start, _, rest = page("troubleshooting.md").partition("## The plugin does not start\n")
    assert "\n## " not in start
    section = rest.partition("\n## ")[0]
    assert [sign for sign in NO_PYTHON if sign not in section] == []
    assert "needs Python 3.11 or later" in (ROOT / "haven_vlm_connector.py").read_text("utf-8")


def test_troubleshooting_names_the_small_context_of_lm_studio():
    (row,) = [line for line in page("troubleshooting.md").splitlines() if "LM Studio loads" in line]
    assert "Context Length" in row


@pytest.mark.parametrize("name", ["check.md", "pages.md"])
def test_every_request_to_stash_is_valid(name):
    requests = blocks(name, "graphql")
    assert requests
    assert [validate(schema(), parse_graphql(each)) for each in requests] == [[]] * len(requests)
