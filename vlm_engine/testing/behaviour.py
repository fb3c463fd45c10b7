"""How a sandbox endpoint behaves, and what it counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

HOST = "127.0.0.1"
MODEL = "sandbox-vlm"


class Profile(StrEnum):
    """Which server's ways an endpoint has: its pages, its refusals, and how it writes and fails to write an answer."""

    PLAIN = "plain"
    LM_STUDIO = "lmstudio"
    OLLAMA = "ollama"
    LLAMA_CPP = "llamacpp"
    VLLM = "vllm"
    SGLANG = "sglang"
    LITELLM = "litellm"


class Fault(StrEnum):
    """What goes wrong with a request instead of an answer."""

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


@dataclass(slots=True)
class Behaviour:
    """How an endpoint behaves. Every attribute may be written while it runs, from any thread.

    ``slots`` requests are worked on at once, each for ``latency_s``; the rest wait, but at most ``queue`` of them where that
    is set. ``miss_rate`` and ``false_alarm_rate`` are probabilities per tag and frame; what becomes of one tag in one frame
    depends on ``seed`` alone, whatever the size of the picture. ``fault`` meets chat completions, before anything
    else is looked at but the key: the next ``fault_requests`` of them (None: all), and of these the share ``fault_share``,
    evenly spread. An empty ``api_key`` asks for none. Without ``offers_schema`` a ``response_format`` is refused;
    without ``offers_logprobs`` the wish for them is ignored. With ``thinks`` it thinks before it answers, unless the request
    turns that off. It takes at most ``most_pictures`` in a request. Without ``loaded`` the model is loaded by the first question,
    and told of only then.
    """

    models: tuple[str, ...] = (MODEL,)
    api_key: str = field(default="", repr=False)
    vision: bool = True
    offers_schema: bool = True
    offers_logprobs: bool = True
    latency_s: float = 0.0
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
    loaded: bool = True
    most_pictures: int = 16


@dataclass(slots=True)
class Counters:
    """What an endpoint has served since it was made. ``failed`` counts by kind: a fault's name, or the refusal's.

    ``in_flight`` are requests received and not yet answered, waiting ones included. Image tokens are a rough
    count, one for 784 pixels. ``frame_numbers`` are those of the answered pictures, in the order of the answers; ``answered``
    counts requests, whatever the number of their pictures.
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
    """Why a request is turned down; names it in the counters."""

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
    """A request that is turned down. ``detail``: what the server would say of it, or what it would name."""

    def __init__(self, kind: Refusal, detail: str = "") -> None:
        super().__init__(detail)
        self.kind, self.detail = kind, detail
