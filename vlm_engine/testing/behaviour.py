"""The settings of a stand-in endpoint, and its counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

HOST = "127.0.0.1"
MODEL = "sandbox-vlm"
_PIXELS_PER_TOKEN = 784


class Profile(StrEnum):
    """The server that an endpoint behaves like: its pages, its refusals, its way to answer."""

    PLAIN = "plain"
    LM_STUDIO = "lmstudio"
    OLLAMA = "ollama"
    LLAMA_CPP = "llamacpp"
    VLLM = "vllm"
    SGLANG = "sglang"
    LITELLM = "litellm"


class Fault(StrEnum):
    """A failure in place of an answer."""

    NONE = "none"
    HANG = "hang"
    DROP = "drop"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    SERVER_ERROR = "server_error"
    ERROR_BODY = "error_body"
    HTML = "html"
    GARBAGE = "garbage"
    TRUNCATED = "truncated"
    BLANKS = "blanks"


class Sight(StrEnum):
    """The way from the pictures of a request to its reply.

    - ``DROPPED``: pictures never reach the model, so ``prompt_tokens`` do not grow with them.
    - ``BLIND``: pictures are read, but any picture's answer is that of one with ``always_sees``.
    - ``STALE``: an answer is about the pictures of the request that arrived before.
    - ``SWAPPING``: of requests that are worked on at once, each gets the answer of another.
    - ``GIBBERISH``: random tokens, whatever the form asked for.
    - ``REFUSING``: an apology in place of each answer.
    - ``REFUSAL_FIELD``: the apology in the field ``refusal``, and no content.
    - ``FILTERED``: no content, since a filter took it away.
    """

    SOUND = "sound"
    DROPPED = "dropped"
    BLIND = "blind"
    STALE = "stale"
    SWAPPING = "swapping"
    GIBBERISH = "gibberish"
    REFUSING = "refusing"
    REFUSAL_FIELD = "refusal-field"
    FILTERED = "filtered"


@dataclass(slots=True)
class Behaviour:
    """Settings of an endpoint. Every attribute may be changed while it runs, from any thread.

    - ``slots`` requests are worked on at once, each for ``latency_s``, and more for each token of
      its pictures and of its answer. The others wait, at most ``queue`` of them if that is set.
    - ``miss_rate`` and ``false_alarm_rate`` are probabilities per tag and frame. The result for a
      tag in a frame depends on ``seed`` alone, whatever the size of the picture.
    - ``fault`` meets the next ``fault_requests`` chat completions (None: all), and of these the
      share ``fault_share``, evenly spread. Only the key is checked before.
    - An empty ``api_key`` lets every request in.
    - Without ``offers_schema``, a ``response_format`` is refused. Without ``offers_logprobs``, the
      wish for log-probabilities is ignored.
    - With ``thinks``, the model thinks before it answers, unless the request turns that off. It
      writes ``thought_tokens`` before each answer whatever the request says; where they use up the
      budget, no answer follows.
    - ``sight``: see there; ``always_sees`` are the tags that a model without pictures sees.
    - Pictures are reduced to ``longest_side`` pixels before they are seen and counted, if that is
      set, and have ``least_picture_tokens`` at least.
    - Replies name ``answers_as`` as their model, if that is set, instead of the one asked for.
    - A request may hold ``most_pictures`` pictures.
    - Without ``loaded``, the first question loads the model, and it is listed as loaded only then.
    """

    models: tuple[str, ...] = (MODEL,)
    api_key: str = field(default="", repr=False)
    vision: bool = True
    offers_schema: bool = True
    offers_logprobs: bool = True
    latency_s: float = 0.0
    picture_token_s: float = 0.0
    answer_token_s: float = 0.0
    slots: int = 4
    miss_rate: float = 0.0
    false_alarm_rate: float = 0.0
    seed: int = 0
    fault: Fault = Fault.NONE
    fault_requests: int | None = None
    fault_share: float = 1.0
    retry_after_s: float = 1.0
    profile: Profile = Profile.PLAIN
    context_tokens: int = 32768
    queue: int | None = None
    thinks: bool = False
    thought_tokens: int = 0
    sight: Sight = Sight.SOUND
    always_sees: tuple[str, ...] = ()
    longest_side: int = 0
    least_picture_tokens: int = 0
    answers_as: str = ""
    loaded: bool = True
    most_pictures: int = 16

    def picture_tokens(self, width: int, height: int) -> int:
        """Return the tokens of a picture with these sides in pixels."""
        return max(self.least_picture_tokens, round(width * height / _PIXELS_PER_TOKEN))

    def time_s(self, picture_tokens: int, answer_tokens: int) -> float:
        """Return how long a request is worked on."""
        answering_s = self.answer_token_s * answer_tokens
        return self.latency_s + self.picture_token_s * picture_tokens + answering_s


UNSOUND: Mapping[str, Mapping[str, Any]] = {
    **{sight.value: {"sight": sight} for sight in Sight if sight is not Sight.SOUND},
    "shrinking": {"longest_side": 500},
    "enlarging": {"least_picture_tokens": 1024},
    "thinking": {"thought_tokens": 120},
    "overthinking": {"thought_tokens": 1_000_000},
    "wrong-model": {"answers_as": "another-vlm"},
}
"""What servers get wrong, by name: the arguments that make a ``Behaviour`` do it."""


@dataclass(slots=True)
class Counters:
    """Counts since the endpoint was made.

    ``answered`` counts requests, whatever the number of their pictures; ``failed`` counts by the
    name of the fault or of the refusal. ``in_flight`` includes requests that wait. An image has
    about one token for 784 pixels. Thoughts count as part of an answer. ``frame_numbers`` are those
    of the pictures sent, in the order of the answers.
    """

    requests: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    in_flight_max: int = 0
    image_tokens: int = 0
    answer_tokens: int = 0
    frame_numbers: list[int] = field(default_factory=list)


class Refusal(StrEnum):
    """The reason why a request is refused, as the counters name it."""

    KEY = "wrong key"
    MODEL = "wrong model"
    VISION = "no vision"
    IMAGE = "bad image"
    LENGTH = "too long"
    FORMAT = "no schema"
    SCHEMA = "bad schema"
    QUEUE = "queue full"
    REQUEST = "bad request"


class RefusalError(Exception):
    """A refused request. ``detail`` is the server's text, or the name or number in that text."""

    def __init__(self, kind: Refusal, detail: str = "") -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail
