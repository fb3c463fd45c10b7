"""The clients that are compared: each sends the same pictures to the same endpoints, in a process
of its own.

``python -m benchmarks.pool_clients '{"client": "pool", "urls": [...], ...}'`` prints what came of
it, as JSON. Each imports only itself, so that its memory is its own.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmarks.memory import peak_mb
from benchmarks.pool_pictures import MODEL, TAGS, messages, picture, reply, tags_of

REQUEST_TIMEOUT_S = 8.0
Ask = Callable[[int], Awaitable[bool]]
"""Ask about the picture of this number. True for a right answer; raises what the client raises."""


@dataclass(frozen=True, slots=True)
class Job:
    """``questions`` for endpoints with as many ``slots`` and so many answers per second, within
    ``limit_s``.

    ``callers`` ask at once; None: all.
    """

    client: str
    urls: tuple[str, ...]
    slots: tuple[int, ...]
    rates: tuple[float, ...]
    questions: int
    limit_s: float
    callers: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """``lost`` ended in an error or a wrong answer; ``undone`` had not ended when time was up."""

    wall_s: float
    answered: int
    lost: int
    undone: int
    cpu_s: float
    peak_mb: float


@asynccontextmanager
async def _pool(job: Job) -> AsyncIterator[Ask]:
    from vlm_engine.clients import EndpointPool
    from vlm_engine.config.models import ModelConfig
    from vlm_engine.types import Form, Question

    endpoints = [
        {"base_url": url, "max_concurrent": slots}
        for url, slots in zip(job.urls, job.slots, strict=True)
    ]
    settings: dict[str, Any] = {
        "multiplexer_endpoints": endpoints,
        "request_timeout": REQUEST_TIMEOUT_S,
    }
    pool = EndpointPool.from_config(ModelConfig(model_id=MODEL, **settings))

    # A client that asks everything at once has all pictures; others make each when it is needed.
    made = [picture(number) for number in range(1 if job.callers else job.questions)]

    async def ask(number: int) -> bool:
        jpeg = made[number] if number < len(made) else picture(number)
        answer = await pool.ask(Question(TAGS, Form.LIST, jpeg))
        return [tag for tag, verdict in answer.verdicts.items() if verdict.present] == tags_of(
            number
        )

    try:
        yield ask
    finally:
        await pool.aclose()


@asynccontextmanager
async def _waiting(job: Job) -> AsyncIterator[Ask]:
    """Return the pool with all questions at once about one picture, so that its own memory can be
    seen beside that of pictures.
    """
    async with _pool(replace(job, questions=1)) as ask:
        yield lambda _: ask(0)


@asynccontextmanager
async def _multiplexer(job: Job) -> AsyncIterator[Ask]:
    """Return a client of multiplexer-llm, weighted by rate, with the slots of each endpoint."""
    openai: Any = importlib.import_module("openai")
    async with importlib.import_module("multiplexer_llm").Multiplexer() as multiplexer:
        for url, slots, rate in zip(job.urls, job.slots, job.rates, strict=True):
            client = openai.AsyncOpenAI(api_key="none", base_url=url, timeout=REQUEST_TIMEOUT_S)
            multiplexer.add_model(client, max(1, round(2 * rate)), url, url, slots)

        async def ask(number: int) -> bool:
            answer = await multiplexer.chat.completions.create(
                messages=messages(number), model=MODEL, max_tokens=64
            )
            return bool(answer.choices[0].message.content == reply(number))

        yield ask


@asynccontextmanager
async def _litellm(job: Job, strategy: str) -> AsyncIterator[Ask]:
    """LiteLLM's Router, told the rates as weights and the slots of each endpoint."""
    litellm: Any = importlib.import_module("litellm")
    litellm.suppress_debug_info = True
    endpoints = [
        {
            "model_name": MODEL,
            "litellm_params": {
                "model": f"openai/{MODEL}",
                "api_base": url,
                "api_key": "none",
                "weight": rate,
                "max_parallel_requests": slots,
            },
        }
        for url, slots, rate in zip(job.urls, job.slots, job.rates, strict=True)
    ]
    router = litellm.Router(
        model_list=endpoints, routing_strategy=strategy, timeout=REQUEST_TIMEOUT_S, num_retries=2
    )

    async def ask(number: int) -> bool:
        answer = await router.acompletion(model=MODEL, messages=messages(number), max_tokens=64)
        return bool(answer.choices[0].message.content == reply(number))

    yield ask


CLIENTS: Mapping[str, Callable[[Job], Any]] = {
    "pool": _pool,
    "pool-one-picture": _waiting,
    "multiplexer": _multiplexer,
    "litellm-least-busy": lambda job: _litellm(job, "least-busy"),
    "litellm-shuffle": lambda job: _litellm(job, "simple-shuffle"),
}


async def run(job: Job, started: Callable[[], None]) -> Outcome:
    """Ask all questions, calls ``started`` just before the first."""
    async with CLIENTS[job.client](job) as ask:
        picture(0)
        gc.collect()  # what the imports left behind is no part of a question's cost
        begun_cpu_s = time.process_time()
        started()
        begun_s = time.monotonic()
        results = await _ask_all(ask, job)
        wall_s = time.monotonic() - begun_s
        cpu_s = time.process_time() - begun_cpu_s
    answered = results.count(True)
    ended = len(results)
    return Outcome(wall_s, answered, ended - answered, job.questions - ended, cpu_s, peak_mb())


async def _ask_all(ask: Ask, job: Job) -> Sequence[bool]:
    results: list[bool] = []
    numbers = iter(range(job.questions))

    async def one(number: int) -> None:
        try:
            results.append(await ask(number))
        except Exception:  # noqa: BLE001  # clients raise errors of many kinds, all of one meaning
            results.append(False)

    async def caller() -> None:
        for number in numbers:
            await one(number)

    work = (
        [caller() for _ in range(job.callers)]
        if job.callers
        else [one(number) for number in numbers]
    )
    tasks = [asyncio.ensure_future(each) for each in work]
    _, undone = await asyncio.wait(tasks, timeout=job.limit_s)
    answer = list(results)
    for task in undone:
        task.cancel()
    await asyncio.gather(*undone, return_exceptions=True)
    return answer


def _main() -> None:
    logging.disable(logging.CRITICAL)
    answer: dict[str, Any] = json.loads(sys.argv[1])
    job = Job(**answer | {name: tuple(answer[name]) for name in ("urls", "slots", "rates")})

    def started() -> None:
        sys.stdout.write("go\n")
        sys.stdout.flush()

    outcome = asyncio.run(run(job, started))
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")


if __name__ == "__main__":
    _main()
