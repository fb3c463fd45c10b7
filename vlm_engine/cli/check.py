"""``vlm-engine check``: try each endpoint, and say what to do if something is wrong."""

from __future__ import annotations

import asyncio
import json
import time
from argparse import Namespace
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw

from vlm_engine.cli.arguments import DONE, NO_ENDPOINT, SOME_FAILED, Program
from vlm_engine.cli.output import printable, show
from vlm_engine.cli.settings import asked_endpoints, engine_config
from vlm_engine.clients import OpenAIClient
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import ClientError, UnreachableError, WrongKeyError
from vlm_engine.types import Answer, Form, Frame, Question

SHOWN, NOT_SHOWN = "Red card", "Yellow card"
"""Tags of the test question: its picture shows the first, on a green pitch."""
_COLOURS = {SHOWN: (215, 20, 30), NOT_SHOWN: (240, 220, 40)}
_SIZE = (448, 448)
OK, NOTE, WRONG = "ok", "note", "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``WRONG``: the endpoint cannot be used; ``text`` says what to do."""

    outcome: str
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """All findings about one endpoint."""

    name: str
    url: str
    findings: tuple[Finding, ...]

    @property
    def works(self) -> bool:
        """True if it can be used."""
        return all(finding.outcome != WRONG for finding in self.findings)


async def check(given: Namespace, program: Program) -> int:
    """Run the command and return its exit code. Raise ``ConfigError``."""
    endpoints = asked_endpoints(engine_config(given, program))
    reports = await asyncio.gather(*(examined(endpoint, model) for endpoint, model in endpoints))
    if given.json:
        results = [_as_json(report) for report in reports]
        show(json.dumps(results, ensure_ascii=False, indent=1) + "\n")
    else:
        show("\n".join(map(_as_text, reports)))
    working = sum(report.works for report in reports)
    return DONE if working == len(reports) else SOME_FAILED if working else NO_ENDPOINT


def _as_json(report: Report) -> dict[str, Any]:
    findings = [
        {"outcome": each.outcome, "what": each.what, "told": each.text} for each in report.findings
    ]
    return {"name": report.name, "url": report.url, "findings": findings, "works": report.works}


def _as_text(report: Report) -> str:
    lines = "".join(
        f"  {finding.outcome:<5}  {finding.what}: {printable(finding.text)}\n"
        for finding in report.findings
    )
    return f"{printable(report.name)} ({report.url})\n{lines}"


async def examined(endpoint: EndpointConfig, model: ModelConfig) -> Report:
    """Return what is found about ``endpoint``, up to the first thing that is wrong.

    Send one question, with a picture. Raise ``ConfigError`` for settings with which nothing can be
    sent there.
    """
    findings: list[Finding] = []
    async with aclosing(OpenAIClient(endpoint, model)) as client:
        for what, look in _looks(model.frames_per_question).items():
            try:
                outcome, text = await look(client)
            except ClientError as error:
                findings.append(Finding(WRONG, what, error.args[0]))
                break
            findings.append(Finding(outcome, what, text))
        else:
            findings += _more(client, endpoint)
    return Report(endpoint.label, endpoint.base_url, tuple(findings))


Result = tuple[str, str]
"""An outcome, and its text."""


async def _reach(client: OpenAIClient) -> Result:
    try:
        offered = await client.check()
    except (UnreachableError, WrongKeyError):
        raise
    except ClientError as error:
        return NOTE, f"it answers, but lists no models: {error.args[0]}"
    server = (await client.discover()).server or "it answers"
    return (
        OK,
        f"{server}, and offers {', '.join(offered[:10])}{' …' if len(offered) > 10 else ''}"
        if offered
        else server,
    )


async def _model(client: OpenAIClient) -> Result:
    name, offered = await client.model_name(), client.capabilities.models
    if offered and name not in offered:
        return NOTE, f"{name}, which is not among those that it offers"
    return OK, name


async def _vision(client: OpenAIClient) -> Result:
    results = {
        True: (OK, "its model sees pictures, it says"),
        None: (NOTE, "it does not say whether its model sees pictures"),
    }
    return results.get(client.capabilities.vision) or (
        NOTE,
        "it says that its model sees no pictures",
    )


async def _question(client: OpenAIClient) -> Result:
    answer, facts = await _ask(client, [SHOWN])
    facts += f"; {'does not tell' if client.lacks_confidence else 'tells'} how sure it is"
    if _right(answer, [SHOWN]):
        return OK, f"answered rightly; {facts}"
    return (
        NOTE,
        "it answers, but did not recognise a red card on a green pitch, so mind how it does on "
        f"your media; {facts}",
    )


async def _several(client: OpenAIClient, frames: int) -> Result:
    """Ask about a red card and a yellow card in turn."""
    cards = [(SHOWN, NOT_SHOWN)[number % 2] for number in range(frames)]
    answer, facts = await _ask(client, cards)
    if answer.calls >= frames:
        return NOTE, f"it takes them one by one, so frames_per_question saves nothing here; {facts}"
    if _right(answer, cards):
        return OK, f"told {frames} pictures apart; {facts}"
    return (
        NOTE,
        f"it did not tell {frames} pictures apart, so set frames_per_question to 1; {facts}",
    )


async def _ask(client: OpenAIClient, cards: Sequence[str]) -> tuple[Answer, str]:
    first, *more = (
        Frame(float(number), *_SIZE, _picture(card)) for number, card in enumerate(cards)
    )
    started = time.monotonic()
    time_s = first.time_s if more else None
    answer = await client.ask(
        Question((SHOWN, NOT_SHOWN), Form.LIST, first.jpeg, time_s=time_s, more=tuple(more))
    )
    seconds = time.monotonic() - started
    tokens = (
        f"; {answer.prompt_tokens} tokens read, {answer.answer_tokens} written"
        if answer.prompt_tokens
        else ""
    )
    return answer, f"{seconds:.1f} s{tokens}"


LOOKS: dict[str, Callable[[OpenAIClient], Awaitable[Result]]] = {
    "reachable": _reach,
    "model": _model,
    "vision": _vision,
    "test question": _question,
}


def _looks(frames: int) -> dict[str, Callable[[OpenAIClient], Awaitable[Result]]]:
    return LOOKS | ({"several frames": partial(_several, frames=frames)} if frames > 1 else {})


def _more(client: OpenAIClient, endpoint: EndpointConfig) -> list[Finding]:
    """Return what the endpoint says about itself, which may be more after its first answer."""
    capabilities = client.capabilities
    if endpoint.max_concurrent == "auto":
        at_once = "as many as pay (max_concurrent is auto)"
    elif endpoint.max_concurrent:
        at_once = f"{client.slots}, as max_concurrent says"
    else:
        at_once = (
            f"{client.slots}, as it tells"
            if capabilities.slots
            else "1: it does not tell; set max_concurrent if it takes more"
        )
    context = (
        [Finding(OK, "context", f"{capabilities.context_tokens} tokens")]
        if capabilities.context_tokens
        else []
    )
    return [Finding(OK, "requests at once", at_once), *context]


def _picture(card: str) -> bytes:
    """Return a card on a green pitch, as JPEG."""
    picture = Image.new("RGB", _SIZE, (40, 130, 50))
    ImageDraw.Draw(picture).rectangle((150, 90, 300, 350), fill=_COLOURS[card])
    written = BytesIO()
    picture.save(written, "JPEG", quality=88)
    return written.getvalue()


def _right(answer: Answer, cards: Sequence[str]) -> bool:
    said = [
        {tag for tag, verdict in verdicts.items() if verdict.present}
        for verdicts in answer.by_picture
    ]
    return said == [{card} for card in cards]
