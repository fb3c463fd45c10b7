"""``vlm-engine serve-sandbox``: an endpoint that needs no model, until it is interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from argparse import Namespace

from vlm_engine.cli.arguments import DONE
from vlm_engine.cli.output import show
from vlm_engine.errors import ConfigError
from vlm_engine.testing import MODEL, UNSOUND, Behaviour, Profile, SandboxVLM


def serve(given: Namespace) -> int:
    """Serve until the process is told to end, and return the exit code. Raise ``ConfigError`` for
    a bad port.
    """
    # The server watches its own socket, which Windows' default loop cannot.
    with (
        contextlib.suppress(KeyboardInterrupt),
        asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner,
    ):
        flaw = f"; unsound: {given.unsound}" if given.unsound else ""
        runner.run(_serve(_behaviour(given), given.port, flaw))
    return DONE


def _behaviour(given: Namespace) -> Behaviour:
    return Behaviour(
        models=(given.model or MODEL,),
        api_key=given.key,
        profile=Profile(given.profile),
        latency_s=given.latency,
        miss_rate=given.miss_rate,
        false_alarm_rate=given.false_alarm_rate,
        **UNSOUND.get(given.unsound, {}),
    )


async def _serve(behaviour: Behaviour, port: int, flaw: str) -> None:
    async with contextlib.AsyncExitStack() as open_here:
        try:
            vlm = await open_here.enter_async_context(SandboxVLM(behaviour, port=port))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"--port {port}: nothing can be served there: {error}") from error
        ways = f"the model {behaviour.models[0]} and the ways of {behaviour.profile}{flaw}"
        show(f"{vlm.url} has {ways}\n")
        await _interrupted()


async def _interrupted() -> None:
    """Return when the process is told to end, also where interrupts are ignored, as in a shell's
    background.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: there a KeyboardInterrupt ends it
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
