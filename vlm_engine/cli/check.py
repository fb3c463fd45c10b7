"""``vlm-engine check``: whether each endpoint can do its work, and what to do where it cannot."""

from __future__ import annotations

import asyncio
import json
import time
from argparse import Namespace
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO

from PIL import Image, ImageDraw

from vlm_engine.cli.arguments import DONE, NO_ENDPOINT, SOME_FAILED, Program
from vlm_engine.cli.output import printable, show
from vlm_engine.cli.settings import asked_endpoints, engine_config
from vlm_engine.clients import OpenAIClient
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import ClientError, UnreachableError, WrongKeyError
from vlm_engine.types import Answer, Form, Frame, Question

SHOWN, NOT_SHOWN = "Red card", "Yellow card"
"""What the test question asks about: its picture shows the first, on a green pitch."""
_COLOURS = {SHOWN: (215, 20, 30), NOT_SHOWN: (240, 220, 40)}
_SIZE = (448, 448)
OK, NOTE, WRONG = "ok", "note", "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look showed. ``WRONG``: the endpoint cannot be used before something is done;
    ``told`` says what.
    """

    outcome: str
    what: str
    told: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found of one endpoint."""

    name: str
    url: str
    findings: tuple[Finding, ...]

    @property
    def works(self) -> bool:
        """Whether it can be used."""
        return all(finding.outcome != WRONG for finding in self.findings)


async def check(given: Namespace, program: Program) -> int:
    """The exit code. Raises ``ConfigError``."""
    asked = asked_endpoints(engine_config(given, program))
    reports = await asyncio.gather(*(examined(endpoint, model) for endpoint, model in asked))
    if given.json:
        told = [asdict(report) | {"works": report.works} for report in reports]
        show(json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    else:
        show("\n".join(map(_as_text, reports)))
    working = sum(report.works for report in reports)
    return DONE if working == len(reports) else SOME_FAILED if working else NO_ENDPOINT


def _as_text(report: Report) -> str:
    lines = "".join(
        f"  {finding.outcome:<5}  {finding.what}: {printable(finding.told)}\n"
        for finding in report.findings
    )
    return f"{printable(report.name)} ({report.url})\n{lines}"


async def examined(endpoint: EndpointConfig, model: ModelConfig) -> Report:
    """What is found of ``endpoint``, up to the first thing that is wrong. Sends one question,
    with a picture of its own.

    Raises ``ConfigError`` for settings with which nothing can be sent there.
    """
    findings: list[Finding] = []
    async with aclosing(OpenAIClient(endpoint, model)) as client:
        for what, look in _looks(model.frames_per_question).items():
            try:
                outcome, told = await look(client)
            except ClientError as error:
                findings.append(Finding(WRONG, what, error.args[0]))
                break
            findings.append(Finding(outcome, what, told))
        else:
            findings += _more(client, endpoint)
    return Report(endpoint.label, endpoint.base_url, tuple(findings))


Told = tuple[str, str]
"""An outcome, and the words for it."""


async def _reach(client: OpenAIClient) -> Told:
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


async def _model(client: OpenAIClient) -> Told:
    name, offered = await client.model_name(), client.capabilities.models
    if offered and name not in offered:
        return NOTE, f"{name}, which is not among those that it offers"
    return OK, name


async def _vision(client: OpenAIClient) -> Told:
    told = {
        True: (OK, "its model sees pictures, it says"),
        None: (NOTE, "it does not say whether its model sees pictures"),
    }
    return told.get(client.capabilities.vision) or (NOTE, "it says that its model sees no pictures")


async def _question(client: OpenAIClient) -> Told:
    answer, facts = await _asked(client, [SHOWN])
    facts += f"; {'does not tell' if client.lacks_confidence else 'tells'} how sure it is"
    if _right(answer, [SHOWN]):
        return OK, f"answered rightly; {facts}"
    return (
        NOTE,
        "it answers, but did not recognise a red card on a green pitch, so mind how it does on "
        f"your media; {facts}",
    )


async def _several(client: OpenAIClient, frames: int) -> Told:
    """A red card and a yellow one, in turn."""
    shown = [(SHOWN, NOT_SHOWN)[number % 2] for number in range(frames)]
    answer, facts = await _asked(client, shown)
    if answer.calls >= frames:
        return NOTE, f"it takes them one by one, so frames_per_question saves nothing here; {facts}"
    if _right(answer, shown):
        return OK, f"told {frames} pictures apart; {facts}"
    return (
        NOTE,
        f"it did not tell {frames} pictures apart, so set frames_per_question to 1; {facts}",
    )


async def _asked(client: OpenAIClient, shown: Sequence[str]) -> tuple[Answer, str]:
    first, *more = (
        Frame(float(number), *_SIZE, _picture(card)) for number, card in enumerate(shown)
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


LOOKS: dict[str, Callable[[OpenAIClient], Awaitable[Told]]] = {
    "reachable": _reach,
    "model": _model,
    "vision": _vision,
    "test question": _question,
}


def _looks(frames: int) -> dict[str, Callable[[OpenAIClient], Awaitable[Told]]]:
    return LOOKS | ({"several frames": partial(_several, frames=frames)} if frames > 1 else {})


def _more(client: OpenAIClient, endpoint: EndpointConfig) -> list[Finding]:
    """What the endpoint tells of itself, which may be more after its first answer."""
    told = client.capabilities
    if endpoint.max_concurrent == "auto":
        at_once = "as many as pay (max_concurrent is auto)"
    elif endpoint.max_concurrent:
        at_once = f"{client.slots}, as max_concurrent says"
    else:
        at_once = (
            f"{client.slots}, as it tells"
            if told.slots
            else "1: it does not tell; set max_concurrent if it takes more"
        )
    context = (
        [Finding(OK, "context", f"{told.context_tokens} tokens")] if told.context_tokens else []
    )
    return [Finding(OK, "requests at once", at_once), *context]


def _picture(card: str) -> bytes:
    """A card on a green pitch, as JPEG."""
    picture = Image.new("RGB", _SIZE, (40, 130, 50))
    ImageDraw.Draw(picture).rectangle((150, 90, 300, 350), fill=_COLOURS[card])
    written = BytesIO()
    picture.save(written, "JPEG", quality=88)
    return written.getvalue()


def _right(answer: Answer, shown: Sequence[str]) -> bool:
    said = [
        {tag for tag, verdict in verdicts.items() if verdict.present}
        for verdicts in answer.by_picture
    ]
    return said == [{card} for card in shown]
