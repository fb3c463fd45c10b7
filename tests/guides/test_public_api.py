"""The public names: all of them are on the page and described, and programs that use nothing else
pass mypy --strict.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path

import pytest

from sandbox.snippets import snippets
from tools.engine_api import MODULES, members, public_names

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "API.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
GUIDE = ROOT / "docs" / "USER_GUIDE.md"
TYPE_CHECKER = """
[mypy]
strict = True
follow_imports = silent
[mypy-numpy.*,aiohttp.*,av.*,distributed.*,dask.*]
follow_imports = skip
"""


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_described_on_the_page(module):
    assert f"<!-- api {module}: made by make docs -->" in PAGE
    assert import_module(module).__doc__
    for name, value in public_names(import_module(module)).items():
        assert name.startswith("__") or f"\n### `{name}`\n" in PAGE, name
        for member, attribute in members(value) if isinstance(value, type) else ():
            assert attribute.__doc__, f"{name}.{member}"


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("vlm_engine", "VLMEngine VLMEngineError __version__"),
        (
            "vlm_engine.config_models",
            "EngineConfig ModelConfig PipelineConfig PipelineModelConfig EndpointConfig TagRule "
            "SearchConfig ClusterConfig",
        ),
        ("vlm_engine.cluster", "open_engine"),
        ("vlm_engine.models", "Model FilterCategories RenameTags MergeTags DropTags"),
        (
            "vlm_engine.errors",
            "VLMEngineError ConfigError MediaError ClientError NoEndpointError CoverageError "
            "StoreError",
        ),
        (
            "vlm_engine.types",
            "VideoInfo Frame Answer Span VideoTagInfo ImageTagInfo VideoResult ImageResult "
            "Coverage",
        ),
    ],
)
def test_names_that_programs_rely_on(module, names):
    assert set(names.split()) <= set(public_names(import_module(module)))


def imported(source: str) -> list[tuple[str, str]]:
    """(module, name) of everything that a program imports from the engine."""
    froms = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module
    ]
    return [
        (str(node.module), alias.name)
        for node in froms
        if str(node.module).startswith("vlm_engine")
        for alias in node.names
    ]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_use_public_names_only(path):
    uses = imported(path.read_text(encoding="utf-8"))
    assert uses
    for module, name in uses:
        assert module in MODULES, f"{module} is not public"
        assert name in public_names(import_module(module)), f"{module}.{name} is not public"


def guide_as_programs(folder: Path) -> list[Path]:
    """Return the programs of the guide, and its cells as one more; without what uses the stage
    without types.
    """
    blocks = [block for block in snippets(GUIDE, "python") if "court" not in block.text]
    cells = "\n".join(block.text for block in blocks if not block.is_program)
    texts = [block.text for block in blocks if block.is_program]
    texts.append(f"async def read() -> None:\n{textwrap.indent(cells, '    ')}")
    paths = [folder / f"guide_{number}.py" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_programs_with_public_names_pass_a_strict_type_checker(tmp_path):
    """As a user has it: without the settings of this project, without a plugin of the type checker,
    and without what it says of other packages. The largest of those are left out.
    """
    programs = [*guide_as_programs(tmp_path), *EXAMPLES]
    (tmp_path / "mypy.ini").write_text(TYPE_CHECKER, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mypy",
        f"--config-file={tmp_path / 'mypy.ini'}",
        "--cache-dir",
        str(ROOT / ".mypy_cache" / "as_a_user"),
    ]
    checked = subprocess.run(
        [*command, *programs], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"no issues found in {len(programs)} source files" in checked.stdout
