"""What docs/command-line.md shows is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import yaml
from PIL import Image

from vlm_engine.cli.arguments import parsers
from vlm_engine.cli.check import LOOKS, NOTE, OK, WRONG
from vlm_engine.config.models import EngineConfig, parse
from vlm_engine.testing import glyphs

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_configuration_is_one() -> None:
    (written,) = blocks("yaml")
    config = parse(EngineConfig, yaml.safe_load(written), "")
    assert [endpoint.label for endpoint in config.models["vlm"].endpoints()] == [
        "gaming PC",
        "cloud",
    ]
    assert config.category_config["tags"]["Foul"].renamed == "Personal foul"


def test_the_command_is_one() -> None:
    (lines,) = blocks("bash")
    (line,) = [line for line in lines.splitlines() if line.startswith("vlm-engine ")]
    assert parsers()[0].parse_args(shlex.split(line)[1:]).paths == [Path("season/")]


def test_the_program_draws_what_the_endpoint_recognises(tmp_path: Path) -> None:
    (program,) = blocks("python")
    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"],
        cwd=tmp_path,
        check=True,
    )
    with Image.open(tmp_path / "foul.jpg") as picture:
        assert glyphs.read(picture).codes == {glyphs.code("Foul")}


def test_the_report_has_what_a_report_has() -> None:
    (report,) = [block for block in blocks("text") if block.startswith("gaming PC")]
    told = [line.split(maxsplit=1) for line in report.splitlines()[1:]]
    assert {outcome for outcome, _ in told} <= {OK, NOTE, WRONG}
    assert [rest.split(":")[0] for _, rest in told] == [*LOOKS, "requests at once"]
