"""Measure how much of each question llama.cpp has in its cache (``python -m benchmarks.prompts
--llama-server PATH``).

A real ``llama-server`` with the tiny model of ``sandbox.tiny_model``, whose tokens are single
letters, is asked one question after the other, each about another picture. Writes its table into
the docs.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from benchmarks.report import table
from sandbox.subjects import LlamaCpp, Subject
from vlm_engine.clients import OpenAIClient
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.reply import usage
from vlm_engine.testing import glyphs
from vlm_engine.types import Form, Frame, Question

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "prompts.md"
CONTEXT_TOKENS = 8192
TAGS = (
    *("Basketball point", "Foul", "Break-away", "Turnover", "Free throw", "Time-out"),
    *("Slam dunk", "Three-pointer", "Rebound", "Block", "Steal", "Substitution"),
)
_PART = re.compile(
    r"(<!-- cached: made by python -m benchmarks.prompts -->\n).*?(<!-- end of cached -->)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Case:
    """A question: its name, the tags it is about, the form of its answer, its pictures."""

    name: str
    tags: tuple[str, ...] = TAGS
    form: Form = Form.LIST
    pictures: int = 1


CASES = (
    Case("the first question"),
    Case("a scan: all tags"),
    Case("a second look: three of the tags", TAGS[1:4]),
    Case("a scan again"),
    Case("an end of a span: one tag", TAGS[4:5]),
    Case("all tags but two", TAGS[2:]),
    Case("bare names", TAGS, Form.NAMES),
    Case("a verdict for each of two tags", TAGS[:2], Form.VERDICTS),
    Case("a scan of four frames at once", pictures=4),
    Case("a scan at last"),
)


@dataclass(frozen=True, slots=True)
class Count:
    """Tokens of a question. ``line``: those of the text behind the picture."""

    case: Case
    prompt: int
    cached: int
    line: int


def counts(subject: Subject) -> list[Count]:
    """Ask all questions in their order, and return their tokens."""
    found = []
    for number, case in enumerate(CASES):
        body = {**request_body(subject, _question(case, 10 * number)), "max_tokens": 4}
        headers = {"Authorization": f"Bearer {subject.key}"}
        address = f"{subject.url}/chat/completions"
        reply = requests.post(address, json=body, headers=headers, timeout=300)
        reply.raise_for_status()
        answer = reply.json()
        cached = usage.cached_tokens(answer)
        if cached is None:
            raise RuntimeError(f"{subject.server} does not tell what it had in its cache")
        found.append(Count(case, usage.tokens(answer, "prompt_tokens"), cached, len(_line(body))))
    return found


def request_body(subject: Subject, question: Question) -> dict[str, Any]:
    """Return the request that a client of the server sends first."""
    model = ModelConfig(model_id=subject.model, tag_list=TAGS)
    client = OpenAIClient(EndpointConfig(base_url=subject.url, api_key=subject.key), model)
    body: dict[str, Any] = json.loads(client.first_body(question))
    return body


def system_text(subject: Subject) -> str:
    """Return the text before the pictures."""
    return str(request_body(subject, _question(CASES[0], 0))["messages"][0]["content"])


def _line(body: Mapping[str, Any]) -> str:
    return str(body["messages"][-1]["content"][-1]["text"])


def _question(case: Case, number: int) -> Question:
    frames = [Frame(float(at), 56, 56, _jpeg(number + at)) for at in range(case.pictures)]
    return Question(case.tags, case.form, frames[0].jpeg, time_s=0.0, more=tuple(frames[1:]))


def _jpeg(number: int) -> bytes:
    file = io.BytesIO()
    glyphs.picture((TAGS[number % len(TAGS)],), 410, 280, number).save(file, "JPEG", quality=88)
    return file.getvalue()


def report(found: Sequence[Count]) -> str:
    """Return the table of the page."""
    rows = [
        [
            count.case.name,
            *map(str, (count.prompt, count.cached, count.prompt - count.cached, count.line)),
        ]
        for count in found
    ]
    head = ["question", "tokens of the prompt", "in the cache", "read", "of these, the line"]
    return table(head, rows)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-server", type=Path, required=True, metavar="PATH")
    program = parser.parse_args().llama_server.absolute()
    with (
        tempfile.TemporaryDirectory() as folder,
        LlamaCpp(program, Path(folder), slots=1, context_tokens=CONTEXT_TOKENS) as server,
    ):
        part = report(counts(server.subject))
    print(part)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_PART.sub(lambda mark: f"{mark[1]}{part}\n{mark[2]}", page), encoding="utf-8")


if __name__ == "__main__":
    main()
