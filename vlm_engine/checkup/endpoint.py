"""Check of one endpoint: what it can do, what its questions cost, and what to change there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from statistics import median

from vlm_engine.checkup.cards import CARD_TAGS, card_model, in_built_in_words
from vlm_engine.checkup.diagnosis import Sight, relation
from vlm_engine.checkup.examination import LARGE, SMALL, Examination, Examiner
from vlm_engine.checkup.playback import EndpointSpeed
from vlm_engine.checkup.values import Finding, Section, SectionKind, Severity, note, ok, wrong
from vlm_engine.clients import OpenAIClient
from vlm_engine.clients.discovery import are_alike
from vlm_engine.clients.request import Feature
from vlm_engine.config.models import EndpointConfig, ModelConfig
from vlm_engine.errors import (
    ClientError,
    ConfigError,
    TimedOutError,
    UnreachableError,
    WrongKeyError,
)
from vlm_engine.prompt import Wording, messages
from vlm_engine.reply import shortened
from vlm_engine.tagging.styles import usual_style
from vlm_engine.types import Form, Question

LIMIT_S = 45.0
_MOST_NAMED = 10
_PIXELS_PER_TOKEN = 784
_BYTES_PER_TOKEN = 4
_WORTH_IT, _NO_GAIN = 1.5, 1.15
_TELLING_S = 0.1  # of a question: shorter ones tell more of this machine than of the server
_USUAL_TOKENS = 8  # of an answer about a frame: most show nothing, or one tag
_FIXED = 1.15
_MUCH = 600  # tokens of a small picture
_DROPPED = 8
_SLOW_PICTURE_S, _SLOW_TOKEN_S = 10.0, 0.25


@dataclass(frozen=True, slots=True)
class EndpointCheck:
    """Result of the check of one endpoint. ``slots``: the questions that it will get at once."""

    endpoint: EndpointConfig
    section: Section
    slots: int = 1
    found: Examination = field(default_factory=Examination)

    @property
    def speed(self) -> EndpointSpeed | None:
        """The time of questions about frames; None if a run would not use the endpoint.

        They have shorter answers than those about cards.
        """
        found = self.found
        if not found.alone_s or found.sight is Sight.STALE or found.is_constant:
            return None
        at_once, all_s = found.at_once or (1, found.alone_s)
        alone_s = found.alone_s * self._usual_share(median(found.answer_tokens or [0]))
        full_s = all_s * self._usual_share(found.longest_at_once)
        return EndpointSpeed(
            self.endpoint.label,
            self.slots,
            alone_s,
            max(full_s, alone_s),
            max(1, min(at_once, self.slots)),
            self.endpoint.is_fallback,
            found.cost,
        )

    def _usual_share(self, tokens: float) -> float:
        """Return the time of a usual question as a share of one whose answer has ``tokens``."""
        cost = self.found.cost
        if cost is None:
            return 1.0
        rest_s = cost.call_s + cost.picture_s
        card_s = rest_s + cost.answer_token_s * tokens
        return min(1.0, (rest_s + cost.answer_token_s * _USUAL_TOKENS) / card_s)


async def check_endpoint(
    endpoint: EndpointConfig, model: ModelConfig, limit_s: float = LIMIT_S
) -> EndpointCheck:
    """Return what is found about ``endpoint``, up to the first thing that is wrong.

    Sends test pictures, at most ten, and ends within about ``limit_s`` seconds. One that only a
    worker of a cluster asks is not asked.
    """
    title = f"{endpoint.label} ({endpoint.base_url})"
    if endpoint.worker:
        text = f"only the worker {endpoint.worker} asks it, so it is not tested from here"
        return EndpointCheck(
            endpoint, Section(SectionKind.ENDPOINT, title, (note("worker", text),))
        )
    try:
        opened = OpenAIClient(endpoint, card_model(model), is_quiet=True)
    except ConfigError as error:
        finding = wrong("settings", str(error))
        return EndpointCheck(endpoint, Section(SectionKind.ENDPOINT, title, (finding,)))
    findings: list[Finding] = []
    examination = Examination()
    async with aclosing(opened) as client:
        try:
            async with asyncio.timeout(limit_s / 3):
                findings += await _reached(client, endpoint)
                findings.append(await _model(client))
            form, frames = usual_style(model).form, model.frames_per_question
            examination = await Examiner(client, 0.9 * limit_s, form, frames).examine()
            findings += _Report(client, endpoint, model, examination).findings()
        except ClientError as error:
            findings.append(wrong("reachable" if not findings else "model", error.args[0]))
        except TimeoutError:
            findings.append(wrong("reachable", "it does not answer in time"))
        slots = 1 if examination.sight is Sight.SWAPPED else client.slots
    section = Section(SectionKind.ENDPOINT, title, tuple(findings))
    return EndpointCheck(endpoint, section, slots, examination)


async def offered_models(
    endpoint: EndpointConfig, model: ModelConfig
) -> tuple[Mapping[str, bool | None], str]:
    """Return whether each model that ``endpoint`` offers sees pictures, None where it does not say;
    and the kind of server, "" if it is not known.

    Raises ``ClientError`` if it lists no models, and ``ConfigError`` if nothing can be sent there.
    """
    any_model = {"model_id": ""}
    client = OpenAIClient(
        endpoint.model_copy(update=any_model), card_model(model).model_copy(update=any_model)
    )
    async with aclosing(client):
        return await client.offers(), client.capabilities.server


async def _reached(client: OpenAIClient, endpoint: EndpointConfig) -> list[Finding]:
    key = ok("API key", "accepted") if endpoint.key() else ok("API key", "none is set or wanted")
    try:
        offered = await client.check()
    except (UnreachableError, WrongKeyError):
        raise
    except ClientError as error:
        await client.discover()
        return [note("reachable", f"it answers, but lists no models: {error.args[0]}")]
    server = (await client.discover()).server or "it answers"
    more = " …" if len(offered) > _MOST_NAMED else ""
    names = f", and offers {', '.join(offered[:_MOST_NAMED])}{more}" if offered else ""
    return [ok("reachable", f"{server}{names}"), key]


async def _model(client: OpenAIClient) -> Finding:
    name, known = await client.model_name(), client.capabilities
    if known.models and name not in (*known.models, *known.names):
        return note("model", f"{name}, which is not among those that it offers", model=name)
    return ok("model", name, model=name)


@dataclass(frozen=True, slots=True)
class _Report:
    """Findings from the examination of an endpoint that was reached."""

    client: OpenAIClient
    endpoint: EndpointConfig
    model: ModelConfig
    found: Examination

    def findings(self) -> Iterator[Finding]:
        """Yield the findings."""
        if not self.found.answers:
            yield self._no_answer()
            return
        yield self._vision()
        yield self._sight()
        yield from self._stand_ins()
        if self.found.readable:
            yield from self._forms()
            yield from self._thinking()
            yield from self._several()
            yield self._slots()
            yield self._context()
            yield from self._picture_tokens()
            yield from self._seconds()
        if self.found.error is not None:
            yield note("failures", self.found.error.args[0])
        if self.found.is_cut_short:
            yield note(
                "time",
                "the time was up before everything was asked; if the server was loading its model, "
                "check again",
            )

    def _no_answer(self) -> Finding:
        error = self.found.error
        if error is not None and not isinstance(error, TimedOutError):
            return wrong("test pictures", error.args[0])
        return wrong(
            "test pictures",
            "no answer in time; if the server is loading its model, check again in a minute",
        )

    def _vision(self) -> Finding:
        declared = self.client.capabilities.vision
        words = {True: "its model sees pictures, it says", None: "it does not say", False: ""}
        return ok("vision", words[declared], says=declared)

    def _sight(self) -> Finding:
        """Return the diagnosis, and the remedy."""
        sight, found = self.found.sight, self.found
        readable = [answer for answer in found.answers if answer.named is not None]
        figures = {
            "sight": sight.value,
            "cards": len(found.answers),
            "relation": round(relation(readable), 3) if readable else None,
        }
        severity = _SEVERITY[sight]
        if sight is Sight.SWAPPED and self.client.slots == 1:
            severity = Severity.NOTE
        text = sight_text(found)
        if sight is not Sight.SOUND and self.model != in_built_in_words(self.model):
            text += (
                ". It was asked in words of yours (PROMPT, SYSTEM_PROMPT, USER_PROMPT), which may "
                "be the reason: check again without them"
            )
        return Finding(severity, "test pictures", text, figures)

    def _stand_ins(self) -> Iterator[Finding]:
        asked_for = self.endpoint.model_id or self.model.model_id
        known = self.client.capabilities.names  # all of them are of the model that is asked for
        for name in sorted(self.found.models):
            if asked_for and not are_alike(asked_for, name) and name not in known:
                yield note(
                    "model",
                    f"wrong model: {name} answers, and {asked_for} is asked for; load that one "
                    "there, or correct MODEL (model_id of this endpoint), unless both are names of "
                    "one model",
                    answers=name,
                )

    def _forms(self) -> Iterator[Finding]:
        features, found = self.client.features, self.found
        schema = "with" if Feature.SCHEMA in features else "without"
        forms = ", ".join(form.value for form in Form if form in found.readable)
        figures = {form.value: form in found.readable for form in Form}
        yield ok("answer forms", f"{forms}, {schema} a schema", schema=schema == "with", **figures)
        for form, error in found.unreadable.items():
            if form not in found.readable:
                yield note("answer forms", f"{form.value} cannot be read: {error.args[0]}")
        if self.client.lacks_confidence:
            yield note(
                "confidence",
                "it does not tell how sure its model is, so the search needs about a third more of "
                "its time",
                logprobs=False,
            )
        else:
            yield ok("confidence", "it tells how sure its model is", logprobs=True)

    def _thinking(self) -> Iterator[Finding]:
        tokens = self.found.thinking_tokens
        if tokens:
            yield note(
                "thinking",
                f"it thinks before it answers, and writes {median(tokens):.0f} tokens; "
                "turn its thinking off in the server, or use its instruct variant",
                answer_tokens=median(tokens),
            )

    def _several(self) -> Iterator[Finding]:
        """Say whether the pictures of one request are told apart, where several are wanted."""
        frames, right = self.model.frames_per_question, self.found.several_right
        if right is None:
            return
        if right:
            yield ok("several frames", f"it told {frames} pictures of one question apart")
        else:
            yield note(
                "several frames",
                f"it did not tell {frames} pictures of one question apart, or takes them one by "
                "one; set frames_per_question to 1",
            )

    def _slots(self) -> Finding:
        client, configured = self.client, self.endpoint.max_concurrent
        slots, declared = client.slots, client.capabilities.slots
        if configured == "auto":
            source = "as many as pay (max_concurrent is auto)"
        elif configured:
            source = f"{slots}, as max_concurrent says"
        else:
            source = f"{slots}, as it tells" if declared else "1: it does not tell"
        factor = self._gain()
        if factor is None:
            return ok("requests at once", source, slots=slots, declared=declared)
        at_once = self.found.at_once[0] if self.found.at_once else 1
        text = f"{source}; {at_once} at once bring {factor:.1f} times the answers of one at a time"
        figures = {"slots": slots, "declared": declared, "gain": round(factor, 2)}
        if self.found.sight is Sight.SWAPPED:
            return note("requests at once", f"{source}; set max_concurrent to 1", **figures)
        if slots == 1 and configured != "auto" and factor >= _WORTH_IT:
            return note("requests at once", f"{text}; set max_concurrent to {at_once}", **figures)
        if slots > 1 and factor <= _NO_GAIN and (self.found.alone_s or 0.0) > _TELLING_S:
            return note("requests at once", f"{text}, so 1 would do", **figures)
        return ok("requests at once", text, **figures)

    def _gain(self) -> float | None:
        """Return how many times as many answers come when several questions are in flight."""
        alone_s, at_once = self.found.alone_s, self.found.at_once
        if not alone_s or at_once is None:
            return None
        questions, seconds = at_once
        return min(questions, questions * alone_s / max(seconds, 1e-3))

    def _context(self) -> Finding:
        needed, declared = self._needed_tokens(), self.client.capabilities.context_tokens
        tags = len(self.model.tag_list)
        text = (
            f"a question about {tags} tag{'s' if tags != 1 else ''} with a picture of full size "
            "takes"
        )
        figures = {"context_tokens": declared, "needed_tokens": needed}
        if declared and declared < needed:
            return wrong(
                "context",
                f"{declared} tokens, and {text} about {needed}: give the server more context, or "
                "use fewer tags or smaller pictures",
                **figures,
            )
        has = f"{declared} tokens" if declared else "it does not tell"
        return ok("context", f"{has}; {text} about {needed}", **figures)

    def _needed_tokens(self) -> int:
        """Return about how many tokens a question about all tags takes, and its answer."""
        tags = self.model.tag_list
        text = _text_bytes(self.model, tags) * self._tokens_per_byte()
        picture = self._tokens_of_picture(self.model.image_max_side)
        return round(text + picture + self.client.answer_budget(tags))

    def _tokens_per_byte(self) -> float:
        text = self.found.prompt_tokens.get(0)
        return text / _text_bytes(self.model, CARD_TAGS) if text else 1 / _BYTES_PER_TOKEN

    def _tokens_of_picture(self, width: int) -> float:
        tokens = self.found.prompt_tokens
        if LARGE not in tokens or not tokens.get(0):
            return width * width * 9 / 16 / _PIXELS_PER_TOKEN
        large = tokens[LARGE] - tokens[0]
        small = tokens.get(SMALL, tokens[0]) - tokens[0]
        return large if large < _FIXED * small else large * (width / LARGE) ** 2

    def _picture_tokens(self) -> Iterator[Finding]:
        tokens = self.found.prompt_tokens
        if not {0, SMALL, LARGE} <= tokens.keys() or not all(tokens.values()):
            return
        small, large = tokens[SMALL] - tokens[0], tokens[LARGE] - tokens[0]
        if small <= _DROPPED:
            return  # the diagnosis says it, or the server counts no pictures
        text = f"{small} for a picture of {SMALL} pixels, {large} for one of {LARGE}"
        figures = {"small": small, "large": large, "text": tokens[0]}
        if small > _MUCH:
            text += (
                "; enlarging: a small picture counts as much as a large one elsewhere; lower the "
                "least number of tokens of a picture in the server (llama.cpp: --image-min-tokens)"
            )
            yield note("picture tokens", text, **figures)
        elif large < _FIXED * small:
            text += (
                "; shrinking: a larger picture counts no more, because the server reduces pictures "
                "or its model takes all of them in one size; frame_size full will hardly help"
            )
            yield note("picture tokens", text, **figures)
        else:
            yield ok("picture tokens", text, **figures)

    def _seconds(self) -> Iterator[Finding]:
        alone_s, cost = self.found.alone_s, self.found.cost
        if alone_s is None:
            return
        if cost is None:
            yield ok("seconds", f"{alone_s:.2g} for a question alone", alone=round(alone_s, 4))
            return
        text = (
            f"{alone_s:.2g} for a question alone: about {cost.call_s:.2g} for itself, "
            f"{cost.picture_s:.2g} for a picture of {SMALL} pixels and "
            f"{cost.answer_token_s:.2g} for each token of the answer"
        )
        figures = {
            "alone": round(alone_s, 4),
            "call": round(cost.call_s, 5),
            "picture": round(cost.picture_s, 5),
            "answer_token": round(cost.answer_token_s, 6),
        }
        advice = ""
        if cost.picture_s > _SLOW_PICTURE_S:
            advice = (
                "; that is very long for a picture: vision seems to run on the processor and not "
                "on the graphics card, so check the server's settings and its log"
            )
        elif cost.answer_token_s > _SLOW_TOKEN_S:
            advice = (
                "; that is very long for a token: the model seems not to fit into the memory of "
                "the graphics card, so use a smaller one or a smaller quantisation"
            )
        yield (note if advice else ok)("seconds", text + advice, **figures)


def _text_bytes(model: ModelConfig, tags: Sequence[str]) -> int:
    """Return the length of the text of a question about these tags, in bytes of UTF-8.

    A token has about as many in any script.
    """
    asking = model if tags is model.tag_list else card_model(model)
    sent = messages(Question(tuple(tags), Form.LIST, b""), Wording.of(asking))
    parts = [message["content"] for message in sent]
    return sum(
        len(part.encode())
        if isinstance(part, str)
        else sum(len(each.get("text", "").encode()) for each in part)
        for part in parts
    )


def sight_text(found: Examination) -> str:
    """Return the diagnosis with its name, and the remedy."""
    readable = [answer for answer in found.answers if answer.named is not None]
    text = _SIGHTS[found.sight].format(
        right=sum(answer.named == answer.card.tags for answer in readable),
        cards=len(found.answers),
        quote=_quote(found),
        dropped=_dropped(found),
    )
    return f"{found.sight.value}: {text}"


def _quote(found: Examination) -> str:
    errors = [error.raw for error in found.unreadable.values()]
    raw = next(filter(None, [*errors, *(answer.raw for answer in found.answers)]), "")
    return f': "{shortened(raw, 80)}"' if raw else ""


def _dropped(found: Examination) -> str:
    """Return what the tokens say of a picture that does not reach the model."""
    text, small = (found.prompt_tokens.get(width, 0) for width in (0, SMALL))
    if not text or small - text > _DROPPED:
        return ""
    return f", and a question has {small} tokens with and without it"


_SEVERITY = {
    Sight.SOUND: Severity.OK,
    Sight.WEAK: Severity.NOTE,
    Sight.UNKNOWN: Severity.NOTE,
    **dict.fromkeys(
        (
            Sight.BLIND,
            Sight.STALE,
            Sight.SWAPPED,
            Sight.REFUSING,
            Sight.THINKING,
            Sight.WRONG_FORM,
            Sight.GIBBERISH,
        ),
        Severity.WRONG,
    ),
}
_SIGHTS = {
    Sight.SOUND: "{right} of {cards} answers about large shapes were exactly right",
    Sight.WEAK: (
        "only {right} of {cards} answers about large shapes were exactly right; mind how it does "
        "on your media, or use a larger model"
    ),
    Sight.BLIND: (
        "its answers do not depend on the picture{dropped}; load a model that sees, with its "
        "vision part (mmproj), and check that what is in between passes pictures on"
    ),
    Sight.STALE: (
        "its answers are about the picture of an earlier question; update the server, or turn off "
        "its cache of prompts and pictures"
    ),
    Sight.SWAPPED: (
        "while several questions are in flight, its answers are about the pictures of others. It "
        "is asked one question at a time; update the server"
    ),
    Sight.REFUSING: (
        "it refuses to answer about plain shapes{quote}; use another model or service"
    ),
    Sight.THINKING: (
        "it thinks until its answer is cut off{quote}; turn its thinking off in the server, or use "
        "its instruct variant"
    ),
    Sight.WRONG_FORM: (
        "it answers in another form than the one asked for{quote}; use another model, or a server "
        "that takes a JSON schema"
    ),
    Sight.GIBBERISH: (
        "its answers make no sense{quote}; the model's file or its chat template is damaged or "
        "does not fit, so load another"
    ),
    Sight.UNKNOWN: "too few answers in the time there is, or without errors, to say ({cards})",
}
