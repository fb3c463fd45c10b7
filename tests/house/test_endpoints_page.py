"""What docs/endpoints.md shows is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from haven.settings.settings import Settings
from haven.tasks.command_line import program
from vlm_engine.cli.arguments import parsed
from vlm_engine.testing import Profile

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "endpoints.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(
    "written", blocks("yaml"), ids=lambda written: re.findall(r"name: ([\w. ]+)", written)[0]
)
def test_every_example_of_settings_is_taken(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in re.findall(r"api_key_env: (\w+)", written):
        monkeypatch.setenv(variable, "a-key-of-some-length")
    (tmp_path / "haven_vlm_config.local.yaml").write_text(written, encoding="utf-8")
    endpoints = Settings.load(folder=tmp_path).engine.models["vlm"].endpoints()
    assert len(endpoints) == written.count("base_url")
    assert all(endpoint.name and endpoint.base_url.endswith("/v1") for endpoint in endpoints)


def test_the_command_of_the_plugin_is_one() -> None:
    (line,) = [block for block in blocks("bash") if "haven_vlm_connector.py" in block]
    _, _, *arguments = shlex.split(line)
    given = parsed(program(Path("answers.sqlite")), arguments)
    assert [endpoint.base_url for endpoint in given.endpoint] == ["http://localhost:1234/v1"]


def test_every_server_has_a_section_and_a_profile_to_try_it_with() -> None:
    sections = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    for name in (
        "LM Studio",
        "Ollama",
        "llama.cpp",
        "vLLM",
        "SGLang",
        "LiteLLM proxy",
        "Cloud services",
    ):
        assert name in sections
    for profile in set(Profile) - {Profile.PLAIN}:
        assert profile in PAGE
