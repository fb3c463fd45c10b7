"""docs/MULTIPLEXER_INTEGRATION.md is true."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox.snippets import run_cells, snippets
from sandbox.videos import LabelledVideo, VideoSpec, generate
from vlm_engine import VLMEngine
from vlm_engine.config_models import EngineConfig, ModelConfig
from vlm_engine.testing import Behaviour, Fault, SandboxVLM
from vlm_engine.types import EndpointStats, VideoResult

PAGE = Path(__file__).resolve().parents[2] / "docs" / "MULTIPLEXER_INTEGRATION.md"
TEXT = PAGE.read_text(encoding="utf-8")
TAGS = ("Foul", "Turnover", "Goal")
KEY = "a-key-of-some-length"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> LabelledVideo:
    spec = VideoSpec(
        duration_s=30, width=320, height=180, tags=TAGS, seed=4, shot_median_s=4, gop_s=2
    )
    return generate(spec, tmp_path_factory.mktemp("video") / "game.mp4")


@pytest.fixture
def place(video: LabelledVideo, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(video.path.parent)
    monkeypatch.setenv("MODELS_KEY", KEY)
    yield video.path.parent


def cells(heading: str) -> list[Any]:
    """Return the blocks of a section; the page's imports are in the first."""
    section = TEXT.index(f"\n## {heading}\n")
    line = TEXT.count("\n", 0, section)
    end = TEXT.count("\n", 0, TEXT.find("\n## ", section + 1))
    return [
        block
        for block in snippets(PAGE, "python")
        if line < int(block.where.rpartition(" ")[2]) <= end
    ]


async def read(heading: str, **servers: Behaviour) -> dict[str, Any]:
    """Run a section against these servers, by the address that it prints.

    What it leaves, and the servers' counters.
    """

    async with AsyncExitStack() as stack:
        vlms = {
            address: await stack.enter_async_context(SandboxVLM(each))
            for address, each in servers.items()
        }
        addresses = {address: vlm.url for address, vlm in vlms.items()}
        names: dict[str, Any] = {
            "VLMEngine": VLMEngine,
            "EngineConfig": EngineConfig,
            "ModelConfig": ModelConfig,
        }
        await run_cells([block.at(addresses) for block in cells(heading)], names)
        return names | {"answered": [vlm.counters.answered for vlm in vlms.values()]}


def found_all(names: dict[str, Any], video: LabelledVideo) -> None:
    found = names["result"]["video_tag_info"]["tag_timespans"]["tags"]
    assert set(found) == {tag for tag, spans in video.truth.items() if spans}
    assert names["result"]["coverage"]["frames_failed"] == 0


async def test_one_pc(place, video, capsys):
    names = await read(
        "One PC",
        **{"http://localhost:11434/v1": Behaviour(models=("qwen3-vl:8b-instruct",), slots=8)},
    )
    found_all(names, video)
    assert "EndpointStats(state='working'" in capsys.readouterr().out


async def test_a_pc_and_a_laptop(place, video):
    servers = {
        "http://192.168.1.20:1234/v1": Behaviour(models=("qwen3-vl-8b-instruct",), latency_s=0.02),
        "http://192.168.1.30:11434/v1": Behaviour(models=("qwen3-vl:8b-instruct",), latency_s=0.06),
    }
    names = await read("A PC and a laptop", **servers)
    found_all(names, video)
    assert all(names["answered"])
    assert sum(names["answered"]) >= names["result"]["coverage"]["calls"]


@pytest.mark.parametrize("home", [Fault.NONE, Fault.DROP])
async def test_a_home_server_and_a_cloud(place, video, home):
    servers = {
        "http://192.168.1.20:1234/v1": Behaviour(models=("qwen3-vl-8b-instruct",), fault=home),
        "https://models.example.com/v1": Behaviour(models=("some-vision-model",), api_key=KEY),
    }
    names = await read("A home server and a cloud", **servers)
    found_all(names, video)
    calls = names["result"]["coverage"]["calls"]
    assert names["answered"] == ([calls, 0] if home is Fault.NONE else [0, calls])


async def test_several_models_in_one_pool(place, capsys):
    large, small = "qwen3-vl-32b-instruct", "qwen3-vl:2b-instruct"
    servers = {
        "http://192.168.1.20:1234/v1": Behaviour(
            models=(large, "qwen3-vl-8b-instruct", "gemma-3-12b-it"), latency_s=0.01
        ),
        "http://192.168.1.30:11434/v1": Behaviour(models=(small,), offers_logprobs=False),
    }
    names = await read("Several models in one pool", **servers)
    assert set(names["result"]["video_tag_info"]["video_tags"]) == {"plays", "scores"}
    said = capsys.readouterr().out
    assert re.search(
        r"{'scout': \d+, 'judge': \d+} \[('PC \(judge\)'|, |'laptop \(scout\)'){3}\]", said
    )
    assert re.search(r"{'plays': \d+, 'scores': \d+}", said)


async def test_nobody_at_all(place, capsys, monkeypatch):
    await read(
        "When something goes wrong", **{"http://192.168.1.99:1234/v1": Behaviour(vision=False)}
    )
    assert "its model cannot see pictures" in capsys.readouterr().out


def test_every_cell_of_the_page_runs_here():
    headings = re.findall(r"^## (.*)$", TEXT, re.MULTILINE)
    run = [
        block
        for heading in headings
        for block in cells(heading)
        if f'"{heading}"' in Path(__file__).read_text(encoding="utf-8")
    ]
    assert run == snippets(PAGE, "python")


# What goes wrong, row by row.


WORKING, LEFT_OUT, GIVEN_UP = (
    frozenset({"working"}),
    frozenset({"not working", "on trial"}),
    frozenset({"given up"}),
)


@dataclass(frozen=True)
class Trouble:
    """An endpoint in trouble, and the failures that are counted there, beside one that works and
    takes ``well_s`` to answer.
    """

    behaviour: Behaviour
    failed: str | None
    states: frozenset[str] = LEFT_OUT
    well_s: float = 0.01
    timeout_s: float = 30.0


TROUBLES = {
    "is slow": Trouble(Behaviour(latency_s=0.3), None, WORKING),
    "is busy (429, 503)": Trouble(
        Behaviour(fault=Fault.BUSY, fault_requests=2, retry_after_s=0.05), "BusyError", WORKING
    ),
    "hangs": Trouble(Behaviour(fault=Fault.HANG), "TimedOutError", well_s=0.3, timeout_s=1.0),
    "is gone, or drops connections": Trouble(Behaviour(fault=Fault.DROP), "UnreachableError"),
    "fails inside (500)": Trouble(Behaviour(fault=Fault.SERVER_ERROR), "ServerError"),
    "sends an unusable reply": Trouble(
        Behaviour(fault=Fault.GARBAGE, fault_requests=2), "ReplyError", WORKING
    ),
    "refuses or garbles everything": Trouble(Behaviour(fault=Fault.GARBAGE), "ReplyError"),
    "has a wrong key": Trouble(
        Behaviour(api_key="another-key-of-some-length"), "WrongKeyError", GIVEN_UP
    ),
    "lacks the model": Trouble(Behaviour(models=("referee-7b",)), "WrongModelError", GIVEN_UP),
    "has a model that sees no pictures": Trouble(
        Behaviour(vision=False), "NoVisionError", GIVEN_UP
    ),
}


def said_of(row: str) -> list[str]:
    """Return what the log says, by this row of the page's table."""
    cells = re.search(rf"^\| {re.escape(row)} \|.*\|(.*)\|$", TEXT, re.MULTILINE)
    assert cells, f"the page has no row {row!r}"
    return re.findall(r"`([^`]+)`", cells[1])


async def tagged(
    video: LabelledVideo, trouble: Trouble
) -> tuple[VideoResult, EndpointStats, EndpointStats]:
    """Return a video's result by an endpoint in trouble and one that works, and their figures."""
    behaviour = dataclasses.replace(trouble.behaviour)  # a server changes its own
    async with (
        SandboxVLM(behaviour) as ill,
        SandboxVLM(Behaviour(latency_s=trouble.well_s)) as well,
    ):
        endpoints = [
            {"base_url": ill.url, "name": "ill", "max_concurrent": 2, "api_key": KEY, "weight": 9},
            {"base_url": well.url, "name": "well", "max_concurrent": 2},
        ]
        model = ModelConfig(
            model_id="sandbox-vlm",
            multiplexer_endpoints=endpoints,
            tag_list=TAGS,
            request_timeout=trouble.timeout_s,
        )
        async with VLMEngine(EngineConfig(models={"vlm": model})) as engine:
            result = await engine.tag_video(video.path)
            return result, *(engine.endpoint_stats()[name] for name in ("ill", "well"))


@pytest.mark.parametrize("row", TROUBLES)
async def test_what_happens_when_an_endpoint(row, video, caplog):
    trouble = TROUBLES[row]
    with caplog.at_level(logging.WARNING, "vlm_engine"):
        result, ill, well = await tagged(video, trouble)
    assert result.coverage.failed == 0
    assert set(result.info.tags["tags"]) == {tag for tag, spans in video.truth.items() if spans}
    assert ill.state in trouble.states
    assert set(ill.failed) == ({trouble.failed} if trouble.failed else set())
    assert well.served > (0 if trouble.failed and ill.state == "working" else ill.served)
    for words in said_of(row):
        assert any(f"endpoint ill {words}" in record.getMessage() for record in caplog.records), (
            caplog.text
        )


async def test_what_happens_when_an_endpoint_comes_back(video, caplog):
    caplog.set_level(logging.INFO, "vlm_engine")
    async with SandboxVLM(Behaviour(fault=Fault.DROP, fault_requests=3)) as vlm:
        endpoint = {"base_url": vlm.url, "name": "ill", "max_concurrent": 2}
        model = ModelConfig(multiplexer_endpoints=[endpoint], tag_list=TAGS)
        async with VLMEngine(EngineConfig(models={"vlm": model})) as engine:
            await engine.tag_video(video.path)
            stats = engine.endpoint_stats()["ill"]
    assert stats.state == "working"
    assert stats.down_s > 0
    for words in said_of("comes back"):
        assert f"endpoint ill {words}" in caplog.text


def test_every_row_of_trouble_is_tried_here():
    table = TEXT[TEXT.index("| an endpoint |") :].partition("\n\n")[0]
    assert {row for row in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)[1:] if row} == {
        *TROUBLES,
        "comes back",
    }


def test_every_figure_is_listed():
    table = TEXT[TEXT.index("| figure |") :].partition("\n\n")[0]
    first_column = "".join(re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", first_column)) == {
        field.name for field in dataclasses.fields(EndpointStats)
    }
